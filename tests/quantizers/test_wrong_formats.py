"""A name or a format of another kind in place of a format is refused with a sentence."""

import pytest

from qtheory import quantizers as qt

FLOAT, FIXED = qt.FP8_E4M3, qt.FixedPointFormat(integer_bits=1, fraction_bits=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: qt.BlockFormat(
                name="X", element_format=qt.E8M0, scale_format=qt.E8M0, block_size=4
            ),
            "`element_format` must be FloatFormat or FixedPointFormat",
        ),
        (
            lambda: qt.BlockFormat(
                name="X", element_format=FLOAT, scale_format=FIXED, block_size=4
            ),
            "`scale_format` must be PowerOfTwoFormat or FloatFormat",
        ),
        (lambda: qt.ScalarQuantizer([[1.0], [1.0, 2.0]]), "`levels` must be a regular array of"),
        (lambda: qt.round_to_format([1.0], "E4M3"), "`fmt` must be FloatFormat or PowerOfTwoForm"),
        (lambda: qt.encode([1.0], FIXED), "`fmt` must be FloatFormat or PowerOfTwoFormat"),
        (lambda: qt.decode([1], None), "`fmt` must be FloatFormat or PowerOfTwoFormat"),
        (lambda: qt.round_to_fixed([1.0], FLOAT), "`fmt` must be FixedPointFormat, got FloatForm"),
        (lambda: qt.encode_fixed([1.0], "Q1.2"), "`fmt` must be FixedPointFormat, got 'Q1.2'"),
        (lambda: qt.decode_fixed([1], None), "`fmt` must be FixedPointFormat, got None"),
        (lambda: qt.quantize_blocks([1.0], "MXFP4"), "`fmt` must be BlockFormat, got 'MXFP4'"),
        (lambda: qt.dequantize_blocks([1.0]), "`quantized` must be QuantizedBlocks"),
        (lambda: qt.max_scale([1.0], qt.E8M0), "`fmt` must be FloatFormat or FixedPointFormat"),
        (lambda: qt.mse_scale([1.0], None), "`fmt` must be FloatFormat or FixedPointFormat"),
        (lambda: qt.format_quantizer("E4M3"), "`fmt` must be FloatFormat or FixedPointFormat"),
        (lambda: qt.round_with_scale([1.0], None, 1.0), "`fmt` must be FloatFormat or FixedPoint"),
    ],
)
def test_wrong_formats_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
