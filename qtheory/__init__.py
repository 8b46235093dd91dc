"""Theory of quantized neural networks: the library behind the book.

The subpackages bear the subjects of the parts of the book; import the one you need, as in
``from qtheory.quantizers import Gaussian, distortion``.
"""

__all__ = ["__version__"]


__version__ = "0.1.0"
