"""Templates and headers: values are escaped, nothing breaks out, nothing runs for long."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from time import monotonic
from typing import Any
from uuid import UUID

import pytest

from adapters.mail import templates
from adapters.mail.composing import TemplateComposer
from adapters.mail.templates import render
from domain.errors import FailureCode, InvalidMailError, PermanentError
from domain.mail import InDoubt, Letter, parse_address
from domain.mailings import Mailing, Recipient

MAILING = UUID("6a1f7a5e-2f5e-4b64-8d0e-3a1c64f3b8a2")


def written(letter: Letter, *, address: str = "anna@example.com", name: str = "", **variables: Any) -> bytes:
    mailing = Mailing(MAILING, UUID(int=1), letter, None, InDoubt.SEND_AGAIN, 1, 0, False)
    recipient = Recipient(7, address, name, variables, 0, False)
    return TemplateComposer("news@example.com").compose(mailing, recipient, ())


def composed(letter: Letter, **options: Any) -> EmailMessage:
    message = message_from_bytes(written(letter, **options), policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def test_html_is_escaped_and_text_is_not() -> None:
    letter = Letter(subject="{{ x }}", text="{{ x }}", html="<p>{{ x }}</p>")

    message = composed(letter, x="<b> & 'you'")

    assert message["Subject"] == "<b> & 'you'"
    assert message.get_body(("plain",)).get_content().strip() == "<b> & 'you'"
    assert message.get_body(("html",)).get_content().strip() == "<p>&lt;b&gt; &amp; &#39;you&#39;</p>"


def test_ones_own_variables_win_over_everybodys() -> None:
    letter = Letter(subject="x", text="{{ a }}{{ b }}{{ name }}", variables={"a": 1, "b": 1})

    assert composed(letter, name="Anna", b=2).get_content().strip() == "12Anna"


def test_a_message_id_names_mailing_and_recipient() -> None:
    assert composed(Letter(subject="x", text="y"))["Message-ID"] == f"<{MAILING}.7@example.com>"


def test_names_in_every_script_survive() -> None:
    message = composed(Letter(subject="Grüße 水車 {{ name }}", text="水車", from_name="Mühle, Inc."), name='Åsa "Ö"')

    assert message["Subject"] == 'Grüße 水車 Åsa "Ö"'
    assert message["From"].addresses[0].display_name == "Mühle, Inc."
    assert message["To"].addresses[0].display_name == 'Åsa "Ö"'
    assert message.get_content().strip() == "水車"


@pytest.mark.parametrize(
    "value",
    ["x\r\nBcc: c@d.org", "x\nBcc: c@d.org", "x\rBcc: c@d.org", "x\x00", "x\x85y", "x\u2028y", "x\u2029y", "x" * 600],
)
def test_no_variable_breaks_out_of_the_subject(value: str) -> None:
    with pytest.raises(PermanentError, match="one line") as refused:
        composed(Letter(subject="{{ x }}", text="y"), x=value)

    assert refused.value.code is FailureCode.MAIL_INVALID


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/u?\r\nBcc: c@d.org",
        "https://example.com/>,<mailto:x@y.z",
        "http://example.com/u",
        "ftp://x",
    ],
)
def test_no_variable_breaks_out_of_the_address_to_unsubscribe(url: str) -> None:
    with pytest.raises(PermanentError, match="unsubscribe_url"):
        composed(Letter(subject="x", text="y", unsubscribe_url="{{ url }}"), url=url)


def test_readers_may_unsubscribe_with_one_click() -> None:
    letter = Letter(subject="x", text="y", unsubscribe_url="https://example.com/u/{{ address|urlencode }}")

    message = composed(letter, address="anna+x@example.com")

    assert message["List-Unsubscribe"] == "<https://example.com/u/anna%2Bx%40example.com>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_a_long_address_to_unsubscribe_stays_whole() -> None:
    url = "https://example.com/u?token=" + "a" * 900

    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in written(Letter("x", "y", unsubscribe_url=url))
    with pytest.raises(PermanentError, match="unsubscribe_url must become one line"):
        written(Letter("x", "y", unsubscribe_url=url + "a" * 100))


def test_mail_is_written_in_seven_bits() -> None:
    letter = Letter("Grüße", "Grüße", "<p>Grüße</p>", from_name="Mühle", unsubscribe_url="https://example.com/u")

    assert written(letter, name="Åsa").isascii()


def test_by_mail_there_is_no_one_click() -> None:
    message = composed(Letter(subject="x", text="y", unsubscribe_url="mailto:leave@example.com"))

    assert message["List-Unsubscribe"] == "<mailto:leave@example.com>"
    assert "List-Unsubscribe-Post" not in message


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ ''.format() }}",
        "{{ cycler() }}",
        "{{ self }}",
        "{% set y = x %}",
        "{% include 'x' %}",
        "{% macro m() %}{% endmacro %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ 'a' ~ 'b' }}",
        "{{ x|center(1000000000) }}",
        "{{ x|join(x) }}",
        "{% for i in 'abc' %}{% endfor %}",
        "{% for i in [1, 2] %}{% endfor %}",
        "{% for i in x %}{% for j in x %}{% endfor %}{% endfor %}",
        "{% for i in x recursive %}{% endfor %}",
        "{% for i in x %}{% endfor %}" * 21,
        "{{ missing }}",
        "{{ x / 0 }}",
        '{{ 1|round(4000000, "floor") }}',
        "{{ '%9d' is odd }}",
        "{{ '%9d' is divisibleby 2 }}",
        "{{ [x, x] }}",
        "{{ x|truncate(2) }}",
        '{{ "\\ud800" }}',
        "{% if x %}" * 120 + "{% endif %}" * 120,
        "{{ x",
    ],
)
def test_a_template_that_mail_may_not_use_is_refused(source: str) -> None:
    began = monotonic()

    with pytest.raises(InvalidMailError):
        render(source, {"x": "abc"}, what="the text")

    assert monotonic() - began < 1


def test_loops_conditions_and_filters_are_there() -> None:
    source = (
        "{% for order in orders %}{{ loop.index }}. {{ order.title|upper }}{% if order.paid %} paid{% endif %}"
        "{% for line in order.lines %} {{ line }}{% endfor %};{% else %}none{% endfor %}{{ note|default('-') }}"
    )
    orders = [{"title": "wheel", "paid": True, "lines": [1, 2]}, {"title": "mill", "paid": False, "lines": []}]

    assert render(source, {"orders": orders}, what="x") == "1. WHEEL paid 1 2;2. MILL;-"


def test_numbers_are_rounded_and_told_apart() -> None:
    source = "{{ x|round(2) }} {{ x|round|int }} {{ 7 is odd }} {{ 9 is divisibleby 3 }}"

    assert render(source, {"x": 12.345}, what="x") == "12.35 12 True True"


def test_a_loop_that_leaves_items_out_knows_where_it_is() -> None:
    source = "{% for i in x if i > 1 %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ', ' }}{% endfor %}"

    assert render(source, {"x": [1, 2, 3]}, what="x") == "1/2, 2/2"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in x %}{% endfor %}",
        "{% for i in x if i == 2 %}{% endfor %}",
        "{% if x|length == 2 %}{% endif %}",
        "{{ x }}",
    ],
)
def test_what_takes_too_long_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "CPU_SECONDS", -1)

    with pytest.raises(InvalidMailError, match="takes too long"):
        render(source, {"x": [1]}, what="the text")


def test_filters_upon_filters_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "LONGEST_OUTPUT", 1000)

    with pytest.raises(InvalidMailError, match="a filter makes a text longer than"):
        render("{{ x|urlencode|urlencode|length }}", {"x": "%" * 300}, what="the text")


def test_what_becomes_too_long_is_stopped() -> None:
    with pytest.raises(InvalidMailError, match="longer than"):
        render("{% for i in x %}" + "a" * 1000 + "{% endfor %}", {"x": "y" * 16_000}, what="the text")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("anna@example.com", "anna@example.com"),
        (" Anna.B+news@Example.com ", "Anna.B+news@Example.com"),
        ("anna@müller.example", "anna@xn--mller-kva.example"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_addresses_are_read(written: str, address: str) -> None:
    assert parse_address(written) == address


@pytest.mark.parametrize(
    "written",
    ["", "anna", "@example.com", "anna@", "a b@example.com", "a@b@c", "anna@-x.com", "a..b@x.com", "änna@example.com",
     "a@x.com\nb@x.com", "a@x.com, b@x.com", '"a"@x.com', "a@[127.0.0.1]", "a@" + "x" * 300, "a" * 65 + "@x.com",
     "a@\ud800.com", "a\0@x.com"],
)  # fmt: skip
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(InvalidMailError):
        parse_address(written)
