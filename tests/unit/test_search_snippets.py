"""What the command line shows of a passage, and what the demo asks a document it does not know."""

from adapters.cli.demo import question_from
from adapters.cli.search import snippet

PASSAGE = (
    "The floats are of elm. Do not oil them. " * 10
    + "The gap between the wheel and the breast is six millimetres wide. "
    + "Grease the axle once a week. " * 10
)


def test_a_snippet_begins_with_the_sentence_that_answers():
    found = snippet(PASSAGE, "How wide are the gaps between wheels and breast?")

    assert found.startswith("... The gap between the wheel and the breast is six millimetres wide.")
    assert len(found) <= 290


def test_a_short_passage_is_shown_whole_and_on_one_line():
    assert snippet("The mill\n\nstands   still.", "nothing of it") == "The mill stands still."


def test_a_passage_without_sentences_is_cut():
    assert snippet("mill " * 200, "mill").endswith("mill ...")


def test_the_demo_asks_for_the_first_line_that_reads_like_a_title():
    assert question_from("12\n\n1/3 - 4\nPlan  of the Mill\nMore text follows.") == "Plan of the Mill"


def test_the_demo_asks_for_the_first_words_where_there_is_no_title():
    assert question_from("mill\nwheel\nweir") == "mill wheel weir"
