"""Personal data: what is found, what only looks alike, what replaces it, and that no text makes it slow."""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text.pii import TYPES, Span, fiction, find, scrub
from kernels.text.pii.banking import passes_luhn
from kernels.text.pii.placeholders import is_placeholder, placeholder
from tests.bounded import in_bounded_work

SECRET = "Q7x" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"  # assembled, so that no scanner takes it for a key
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq0" * 8 + "\n-----END RSA PRIVATE KEY-----"
VALUES = {  # each is found without any word beside it
    "private_key": [PEM],
    "api_key": ["AKIA" + "J7Q2M4X8B5N9R3T6", "ghp_" + SECRET[:36], "sk-" + SECRET, "AIza" + SECRET[:35]],
    "crypto_address": [
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    ],
    "email": [
        *["ann.lee+news@uni-bonn.de", "JÜRGEN@müller.de", "o'neil_7@mail.co.uk", "root@[8.8.4.4]", "пётр@почта.рф"],
        *["ann@xn--mller-kva.de", "ann (at) uni-bonn (dot) de", "ann.lee [at] mail.org", "a_b at mail dot co dot uk"],
    ],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "gb82west12345698765432"],
    "credit_card": ["4012888888881881", "5105-1051-0510-5100", "3782 822463 10005", "6011 1111 1111 1117"],
    "us_ssn": ["521-44-9382"],
    "national_id": [
        *["RCCMNL83S18D969H", "BOXW310820HNERXN09", "AB 12 34 56 C", "131052-308T", "390.533.447-05"],
        *["2 95 10 99 126 111 93", "756.9217.0769.85", "85.07.30-033.28", "X-2482300-W", "360426199101010071"],
    ],
    "mac_address": ["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7"],
    "ipv6": [
        "2a00:1450:4001:81b::200e",
        "2a00:1450:4001:081b:0000:0000:0000:200e",
        "6e40:4041:c617:e898:c11:40d2:c669:2eb4",
    ],
    "ipv4": ["8.8.8.8", "151.101.1.69", "10.218.6.131"],
    "phone": [
        *["(415) 682-3417", "415-682-3417", "+1 415 682 3417 x22", "+49 30 901820-12", "+44 (0)20 7946 1958"],
        *["(+48) 22 525 80 40", "+(65) 3158 0269", "001-748-088-2851x818", "03 59 55 40 40", "0031 20 623 4567"],
        *["(495) 777-02-82", "（415）682－3417"],
    ],
}
KINDS_AND_VALUES = [(kind, value) for kind, values in VALUES.items() for value in values]
BESIDE_WORDS = [  # text, type, value
    ("Tel.: 020 8946 1958", "phone", "020 8946 1958"),
    ("Phone:\n60-56-85-91", "phone", "60-56-85-91"),
    ("You can call 73 448 266 today", "phone", "73 448 266"),
    ("They're not answering at 451 5986", "phone", "451 5986"),
    ("stop the messages to 60-56-85-91", "phone", "60-56-85-91"),
    ("on my registered 358 0594", "phone", "358 0594"),
    ("(37) 788-063-Office", "phone", "(37) 788-063"),
    ("聯絡電話：038-226959", "phone", "038-226959"),
    ("social security no. 521 44 9382", "us_ssn", "521 44 9382"),
    ("SSN: 521449382", "us_ssn", "521449382"),
    ("tax ID 94-2841935", "tax_id", "94-2841935"),
    ("his driver’s license Y820-9283-4432", "driver_license", "Y820-9283-4432"),
    ("my driver's license number is a56319335", "driver_license", "a56319335"),
    ("passport number RX3901825", "passport", "RX3901825"),
    ("Bank account 8721938475", "bank_account", "8721938475"),
    ("routing number: 061000104", "bank_account", "061000104"),
    ("card number 630427373398", "credit_card", "630427373398"),
    ("NHS number 943 476 5870", "national_id", "943 476 5870"),
    ("BSN 1112.22.333", "national_id", "1112.22.333"),
    ("DNI: 54362315K", "national_id", "54362315K"),
    ("Steuer-ID 36 574 261 809", "national_id", "36 574 261 809"),
    ("PESEL 44051401359", "national_id", "44051401359"),
    ("SIN: 123-456-782", "national_id", "123-456-782"),
    ("TFN 123 456 782", "national_id", "123 456 782"),
    ("Aadhaar 2341 2341 2346", "national_id", "2341 2341 2346"),
    ("personas kods 161175-19997", "national_id", "161175-19997"),
    ("asmens kodas 33309240064", "national_id", "33309240064"),
    ("with password 'B@nZes94!', and", "password", "B@nZes94!"),
    ("her password !PurpleSky77.", "password", "!PurpleSky77"),
    ("password: hunter22", "password", "hunter22"),
    ("?password=Tr0ub4dor&3&user=me", "password", "Tr0ub4dor&3"),
    ("api_key = 'a8f5f167f44f4964e6c998dee827110c'", "api_key", "a8f5f167f44f4964e6c998dee827110c"),
    ("举报邮箱jubao@ynet.com或者", "email", "jubao@ynet.com"),
    ("e-mail: ann at mail dot org", "email", "ann at mail dot org"),
]
NO_FINDING = [
    "version 1.2.3.4.5 and v1.2.3.4 of the tool",
    "see section 4.2.2.1 and Section 4.2.2.1, or figure 1.2.3.4",
    "4.2.2.1 Scope of the rules, 3.1.0.2 as released",
    "99.99.99.999 and 300.1.2.3 and 1.2.3",
    "local 10.0.0.1, 192.168.1.4, 127.0.0.1, 172.16.9.8, 169.254.1.1",
    "Chrome/91.0.4472.124 Safari/9.80.1.2",
    "documentation: 192.0.2.5, 198.51.100.7, 203.0.113.9, 2001:db8::7, 00:00:5e:00:53:af",
    "at 12:34:56 or 01:02:03:04:05:06, std::vector and face::bad",
    "link-local fe80::1 and ::1",
    "someone@example.com, a@b.example.org, x@host.test, kim (at) example (dot) org",
    "Рейтинг@Mail.ru, a@tty1.service, logo@2x.png and user@localhost and @handle and a @ b, git@github.com:org/repo",
    "look at google dot com, meet (at) noon. Really",
    "call 555-0123 or (202) 555-0143, 020 7946 0123, 01 99 00 12 34, +49 30 23125 123, (02) 5550 1234",
    "in 2019-2020, 1,234,567,890 people; 10 000 000 of them; +10 000 000 more; pi is 3.14159265358979",
    "655502 cell phones.\n#### 655502",
    "&(1001001)(1010101)+(989899)(1001001)",
    "call a taxi to 03 2657 Koontz Lane, a registered trademark number 2523868",
    "call on 12.03.2019 or 2019-03-12, Tel. 10.30-11.30, pp. 261-264, P. 201301, (1996) 1234-1240",
    "ISBN 978-3-16-148410-0, order 1234567890123456, 4111 1111 1111 1112",
    "DE00 3704 0044 0532 0130 00 and DE88 3704 0044 0532 0130 00",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 2020-01-02",
    "room 143 476 5870, part no. 521 44 9382, CPF 390.533.447-06, PESEL 44051401358, 131052-308U",
    "password is incorrect, Password must be 8 characters, password: required",
    "password = get_password, password=self.password1, password: ${DB1}, password=user_pw, passport control 2024",
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3, 0x0000000000000000000000000000000000000000",
    "the class sk-fading-circle-container-wrapper and task-force-for-the-whole-town, token: a-long-slug-of-words-only",
    "-----BEGIN PRIVATE KEY-----\nEXAMPLE\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\n" + "MIIBIjANBgkqhkiG9w0B" * 4 + "\n-----END PUBLIC KEY-----",
]
ODD_PIECES = [
    *[value for _, value in KINDS_AND_VALUES],
    *[text for text, _, _ in BESIDE_WORDS],
    *"0123456789+-(). @:/x\n\u00a0（",
    *["a", "é", "\0", "\ud800", "tel ", "call ", "SSN ", "@example.com", "555-01", "::", "4", "DE", " dot ", "(at)"],
    *["password: ", "passport ", "account no. ", "NHS ", "card ", "secret=", "EXAMPLE"],
]
ODD = st.lists(st.sampled_from(ODD_PIECES), max_size=25).map("".join)


@pytest.mark.parametrize(("kind", "value"), KINDS_AND_VALUES)
@pytest.mark.parametrize("frame", ["{}", "Write to {}, please.", "x: {}\nmore", "({})", '"{}"'])
def test_a_value_is_found_where_it_stands(kind, value, frame):
    start = frame.index("{")
    assert find(frame.format(value)) == [Span(start, start + len(value), kind)]


@pytest.mark.parametrize("text", NO_FINDING)
def test_what_only_looks_alike_is_left_alone(text):
    assert find(text) == []
    assert scrub(text, "doc") == text


@pytest.mark.parametrize(("text", "kind", "value"), BESIDE_WORDS)
def test_a_number_is_found_beside_the_words_for_it(text, kind, value):
    assert [(span.type, text[span.start : span.end]) for span in find(text)] == [(kind, value)]
    assert find(scrub(text, "doc")) == []


def test_without_the_words_the_same_number_is_left_alone():
    for number in ["60-56-85-91", "451 5986", "521 44 9382", "143 476 5870", "44051401359", "94-2841935", "8721938475"]:
        assert find(f"part {number} of it") == []


def test_a_page_of_nothing_but_numbers_is_taken_for_a_directory():
    numbers = [f"020 8{n:03d} {n * 7 % 10_000:04d}" for n in range(1000)]
    assert len(find("\n".join(numbers))) > 800


@pytest.mark.parametrize(("kind", "value"), KINDS_AND_VALUES)
def test_a_replacement_has_the_form_and_belongs_to_nobody(kind, value):
    new = placeholder(kind, value, "doc-1")
    assert new != value and new == placeholder(kind, value, "doc-1")
    assert find(new) == [] and scrub(new, "doc-2") == new
    if kind == "email":
        assert "example" in new and (not value.isascii() or (" " in new) == (" " in value))
    elif kind in ("ipv4", "ipv6"):
        networks = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
        assert any(ipaddress.ip_address(new) in ipaddress.ip_network(network) for network in networks)
    elif kind == "phone":
        assert fiction.is_fictional(new) and is_placeholder("phone", new)
    elif kind == "credit_card":
        digits = "".join(filter(str.isdigit, new))
        assert not passes_luhn(digits) and [c.isdigit() for c in new] == [c.isdigit() for c in value]
    elif kind in ("iban", "us_ssn", "api_key", "national_id", "mac_address", "crypto_address"):
        assert len(new) == len(value)


@pytest.mark.parametrize(
    ("value", "start"),
    [
        *[("+44 20 8946 1958", "+44 "), ("+33 3 59 55 40 40", "+33 "), ("+61 7 4000 8532", "+61 ")],
        *[("03 59 55 40 40", "0"), ("(07) 4000 8532", "0"), ("+90 553 955 44 64", "+1 "), ("(415) 682-3417", "(")],
    ],
)
def test_a_phone_number_stays_in_its_country_where_that_keeps_numbers_for_fiction(value, start):
    drawn = {placeholder("phone", value, f"doc-{n}") for n in range(50)}
    assert len(drawn) > 20
    assert all(new.startswith(start) and fiction.is_fictional(new) for new in drawn)


def test_replacements_depend_on_type_value_and_document_alone():
    text = "mail bob@site.org or bob@site.org or amy@site.org"
    first, second, other = (word for word in scrub(text, "doc-1").split() if "@" in word)
    assert first == second != other
    assert first in scrub("unrelated words before bob@site.org", "doc-1")
    assert first not in scrub(text, "doc-2")


def test_placeholder_refuses_an_unknown_type():
    with pytest.raises(ValueError, match="no placeholder"):
        placeholder("name", "Ann", "doc")


@settings(max_examples=500, deadline=None)
@given(text=ODD | st.text(max_size=120))
def test_nothing_is_found_after_scrubbing_and_scrubbing_twice_is_scrubbing_once(text):
    spans = find(text)
    assert all(0 <= a.start < a.end <= len(text) and a.type in TYPES for a in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    clean = scrub(text, "doc")
    assert find(clean) == []
    assert scrub(clean, "doc") == clean
    if not spans:
        assert clean == text


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.sampled_from([value for _, value in KINDS_AND_VALUES]), min_size=2, max_size=6))
def test_values_side_by_side_leave_nothing_behind(parts):
    for gap in ("", " ", ", ", "\n"):
        assert find(scrub(gap.join(parts), "doc")) == []


REPEATED = [
    *[
        "a",
        "1",
        "1 ",
        "1.",
        "(1",
        "+1",
        "+1 ",
        "@",
        "a@",
        "a@a.",
        "a.",
        "a-",
        "é@",
        "::",
        "1:",
        "a:b:",
        "\0",
        "eyJ",
        "f",
    ],
    *["eyJ" + "a" * 3000 + ".", "-----BEGIN PRIVATE KEY-----", "sk-", "sk-a", "ghp_", "GB12", "GB12 ", "4111 ", "0x"],
    *["call 1", "tel:1 ", "\n1.1.1.1 ", "deadbeef:", "bc1q", "1A", "(at)", "a (at) ", "a dot ", "a (at) b dot ", "00-"],
    *[
        "password: ",
        "pwd=",
        "token=a",
        "=aaaaaaaaaaaaaaaaaaaa1B",
        "020 7946 1958 ",
        "call 12 34 56 ",
        "AB12",
        "12.",
        "1/",
    ],
    *[
        "passport A1",
        "driver's license 1-",
        "1-1",
        "(0)",
        "tel: (",
        "１",
        "number is ",
        "00 31 (",
        "call me at ",
        "8.8.8.8 ",
        "1.2.3.4 ",
    ],
]


@pytest.mark.parametrize("length", [200_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("piece", REPEATED)
def test_no_hostile_text_takes_long(piece, length):
    text = (piece * length)[:length]
    with in_bounded_work():
        find(text)


def test_many_beginnings_of_a_key_with_one_end_take_no_longer():
    text = "-----BEGIN PRIVATE KEY-----\n" * 10_000 + "-----END PRIVATE KEY-----"
    with in_bounded_work():
        assert find(text) == []


def test_looking_up_numbering_plans_is_bounded():
    text = "".join(f"0{n % 10}{n % 7} {n % 1000:03d} {n:04d} " for n in range(10_000))
    with in_bounded_work():
        find(text)
