"""What every check of an exercise owes its reader, whatever the exercise is."""


class AnswerTests:
    """The tests of a chapter's checks, from its tables of right and of wrong answers.

    A subclass gives ``numeric``, pairs of a check and its right answer, a number; and ``wrong``,
    triples of a check, a usual mistake and a part of the hint that it gets.
    """

    numeric = ()
    wrong = ()

    def pytest_generate_tests(self, metafunc):
        """Give each test its table."""
        if "hint" in metafunc.fixturenames:
            metafunc.parametrize(("judge", "answer", "hint"), self.wrong)
        else:
            metafunc.parametrize(("judge", "answer"), self.numeric)

    def test_right_answer_passes(self, judge, answer):
        assert judge(answer)

    def test_usual_mistake_gets_its_own_hint(self, judge, answer, hint):
        verdict = judge(answer)
        assert not verdict
        assert hint in verdict.message
        assert hint not in judge("no number").message

    def test_unknown_mistake_gets_a_hint(self, judge, answer):
        verdict = judge(1000.0 * answer)
        assert not verdict
        assert verdict.message == judge("no number").message.split("is expected. ")[1]

    def test_text_and_missing_answer_get_a_hint(self, judge, answer):
        assert "a number or an array" in judge("many").message
        assert not judge(None)

    def test_array_instead_of_a_number_gets_a_hint(self, judge, answer):
        assert "expected is one number" in judge([answer, answer]).message
