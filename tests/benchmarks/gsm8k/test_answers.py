"""Final answers are read as the value that is meant, in whatever clothes, in linear time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks.gsm8k.environment import final_answer, official_answer, read_answer
from amp.benchmarks.gsm8k.numbers import normalise


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She sold 48+24 = <<48+24=72>>72 clips.\n#### 72", "72"),
        ("#### 1,250", "1250"),
        ("#### -3", "-3"),
        ("#### 2.50", "2.50"),
        ("#### 72.0", "72.0"),
        ("#### 5\n#### 6", "5"),
        ("####72", None),
        ("#### $72", None),
        ("The answer is 72", None),
    ],
)
def test_the_official_rule_to_the_letter(text: str, answer: str | None) -> None:
    assert official_answer(text) == answer


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_one_integer_has_one_spelling(number: int) -> None:
    spellings = [
        f"{number}",
        f"{number:,}",
        f"{number}.0",
        f"{number}.00",
        f" {number} ",
        f"{number} eggs",
        f"[{number}]",
        f"{number}%",
        f"{number}.",
        f"**{number}**",
        f"{'-' if number < 0 else ''}${abs(number):,}",
        f"${number}",
        f"{2 * number}/2",
    ]
    assert {normalise(text) for text in spellings} == {str(number)}


@settings(deadline=None)
@given(st.one_of(st.text(), st.floats().map(repr), st.fractions().map(str)))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert once is None or normalise(once) == once


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(-1e-9, 1e-9))
def test_floating_point_noise_makes_no_other_answer(value: float, noise: float) -> None:
    whole = round(value)
    assert normalise(repr(whole + noise)) == normalise(str(whole))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("17.999999999999996", "18"),
        ("1e-17", "0"),
        ("-0.0", "0"),
        ("1e+16", "10000000000000000"),
        ("\u22125", "-5"),
        ("-$5", "-5"),
        ("7/2", "3.5"),
        ("1/0", None),
        ("", None),
        ("nan", None),
        ("True", None),
        ("(3, 4)", None),
        ("12:30", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_in_odd_clothes(text: str, number: str | None) -> None:
    assert normalise(text) == number


@settings(deadline=None)
@given(st.integers(0, 10**7), st.booleans())
def test_reading_does_not_depend_on_the_form(number: int, comma: bool) -> None:
    written = f"{number:,}" if comma else str(number)
    forms = [
        f"#### {written}",
        f"1. We add 3 + 4 = 7.\n#### {written}",
        f"####{written}\n",
        f"#### ${written}.00",
        f"#### **{written}**",
        f"#### N = {written}",
        f"#### {written} eggs",
        f"#### {written}\n\nNext problem: 3 + 4\n#### 7",
        f"We add 3 and 4.\nThe answer is {written}.",
        f"We add 3 and 4. **Answer:** ${written}",
        f"So \\[ x = \\boxed{{{written}}} \\]",
        f"{written}",
        f"We have 3 and 4.\nTherefore, {written} eggs are left.",
    ]
    assert {read_answer(form) for form in forms} == {str(number)}


@pytest.mark.parametrize(
    "text",
    ["", "I don't know.", "We first add 3 + 4 = 7", "1. There are 3 eggs.\n2. Then 4 of", "####"],
)
def test_a_text_without_an_answer_has_none(text: str) -> None:
    assert read_answer(text) is None
    assert final_answer(text) is None


EQUATIONS = {
    "The answer is 256 + 37 = 293.": "293",
    "Answer: 2*7 + 3*6 = 32": "32",
    "The answer is $5 + $7 = $12.": "12",
    "The answer is 50% of 80, which is 40.": "40",
    "#### 18 - 5 = 13": "13",
    "#### 12 * 7 = 84": "84",
    "The answer is 12 * 7 = 84.": "84",
    "The answer is 12 \xd7 7 = 84.": "84",
    "The answer is 12 x 7 = 84 eggs.": "84",
    "The answer is 168 \xf7 2 = 84": "84",
    "The answer is 100 \u2212 16 = 84.": "84",
    "The answer is 100 \u2013 16 = 84.": "84",
    "The answer is 12 times 7, which is 84.": "84",
    "The answer is 12 multiplied by 7 equals 84.": "84",
    "The answer is 84 = 12 * 7.": "84",
    "The answer is (12 * 7) + 0 = 84.": "84",
    "The answer is 2^3 = 8.": "8",
    "The answer is 12 eggs * 7 boxes = 84 eggs.": "84",
    "The answer is 12 eggs/box * 7 boxes = 84 eggs.": "84",
    "The answer is $256 + $37 = $293.": "293",
    "Answer: 3 + 4 * 2 = 3 + 8 = 11": "11",
    "The answer is 12 \\times 7 = 84.": "84",
    "The answer is $12 \\cdot 7 = 84$.": "84",
    "The answer is \\(12 * 7 = 84\\).": "84",
    "The answer is 25% of 80 = 20.": "20",
    "The answer is 10% of 80, or 8.": "8",
    "#### 5 + 8 = 13": "13",
    "#### 12*7=84": "84",
    "#### 84 = 12*7": "84",
    "#### 100 / 4 = 25": "25",
    "#### 7 \xd7 12 = 84 eggs": "84",
    "#### $18 - $5 = $13": "13",
    "#### 18 - 5 = 13\n#### 7": "13",
    "The answer is 7/2 = 3.5.": "3.5",
    "#### 1. Compute 12 * 7\n#### 2. Result\n#### 84": "84",
    "#### N = 72": "72",
    "#### x=72": "72",
    "#### *72*": "72",
    "#### =72": "72",
    "Final Answer: 12 * 7 = 84": "84",
    "*Answer:* 84": "84",
    "answer = 84": "84",
    "The answer is 84, since 12 * 7 = 84.": "84",
    "The answer is 84 (12 * 7).": "84",
    "12 * 7 = 84": "84",
    "The total is 12 * 7 = 84.": "84",
    "So she has 12 * 7 = 84 eggs.": "84",
    "The answer is 12 + 7 = 19 and 19 - 4 = 15.": "19",
    "The answer is 7 boxes of 12 eggs = 84 eggs.": "84",
    "The answer is 7*12=84": "84",
    "The answer is 20 + 5% = 21": "21",
    "The answer is 3 * (4 + 24) = 84.": "84",
    "The answer is 3(4+24) = 84.": "84",
    "The answer is \u221a49 = 7.": "7",
    "The answer is 7\xb2 = 49.": "49",
    "The answer is 7! = 5040.": "5040",
    "The answer is x = 84.": "84",
}
FRACTIONS = {
    "#### 3/4": "0.75",
    "The final answer is 1/2.": "0.5",
    "The answer is \\frac{1}{2}.": "0.5",
    "The answer is 1/4 of 80, which is 20.": "20",
    "#### 1/2": "0.5",
    "#### 1 1/2": "1.5",
    "#### -3/4": "-0.75",
    "#### 3 / 4": "0.75",
    "#### \\frac{3}{4}": "0.75",
    "#### $\\frac{3}{4}$": "0.75",
    "#### \xbd": "0.5",
    "#### 3\xbd": "3.5",
    "#### \\dfrac{1}{2}": "0.5",
    "#### \\frac12": "0.5",
    "#### 1\\frac{1}{2}": "1.5",
    "#### -\\frac{1}{2}": "-0.5",
    "The final answer is 3/4.": "0.75",
    "The final answer is $\\frac{1}{2}$.": "0.5",
    "The final answer is \\(\\frac{1}{2}\\).": "0.5",
    "The answer is 2 1/2 hours.": "2.5",
    "The answer is \\frac{3}{4} = 0.75.": "0.75",
    "The answer is $\\frac{84}{1} = 84$": "84",
    "Answer: 84/1": "84",
}
BOXES = {
    "\\boxed{\\frac{3}{4}}": "0.75",
    "\\boxed{84 \\text{ eggs}}": "84",
    "\\boxed{1{,}234}": "1234",
    "\\boxed{\\frac{1}{2}}": "0.5",
    "\\boxed{\\dfrac{1}{2}}": "0.5",
    "\\boxed{\\text{84}}": "84",
    "\\boxed{84\\%}": "84",
    "\\boxed{\\$84}": "84",
    "\\boxed{x = 84}": "84",
    "\\boxed{12 \\times 7 = 84}": "84",
    "\\boxed{84\\ \\mathrm{eggs}}": "84",
    "\\boxed{1,234}": "1234",
    "\\boxed{1\\,234}": "1234",
    "\\boxed{\\boxed{84}}": "84",
    "\\boxed{-5}": "-5",
    "\\boxed{ 84 }": "84",
    "$\\boxed{84}$ and \\boxed{85}": "85",
    "\\boxed{\\text{eggs: } 84}": "84",
    "\\boxed{\\textbf{84}}": "84",
    "\\boxed{84}.": "84",
    "So \\(\\boxed{84 \\text{ eggs}}\\)": "84",
    "\\boxed{12{,}345{,}678}": "12345678",
    "\\boxed{\\frac{168}{2}}": "84",
    "\\fbox{84}": "84",
    "\\boxed{84^\\circ}": "84",
    "\\boxed{\\left(84\\right)}": "84",
    "#### \\boxed{72}": "72",
    "#### $\\boxed{72}$": "72",
    "The final answer is: $\\boxed{84}$. I hope it is correct.": "84",
    "**Final Answer**\n\\boxed{84}": "84",
}
MARKED = {
    "#### \\(72\\)": "72",
    "#### \\$72": "72",
    "#### \u20ac20": "20",
    "#### 1 234": "1234",
    "#### 1\xa0234": "1234",
    "#### 1\u202f234": "1234",
    "#### 1\u2009234": "1234",
    "#### 12 345 678": "12345678",
    "#### 1'234": "1234",
    "#### 1,234.50": "1234.5",
    "#### 84_000": "84000",
    "#### 1,5": "1.5",
    "#### 12,34,567": "1234567",
    "#### 1.234,56": "1234.56",
    "#### 1,234,567": "1234567",
    "#### 5 million": "5000000",
    "#### $1.2 million": "1200000",
    "#### 5 thousand": "5000",
    "#### 5k": "5000",
    "#### 5 hundred": "500",
    "#### $5M": "5000000",
    "#### 5 km": "5",
    "#### 5m": "5",
    "#### 1. Compute\nIt is 84.\n#### 84": "84",
    "#### 1e3": "1000",
    "#### 1.5e3": "1500",
    "#### \\[72\\]": "72",
    "#### $72$": "72",
    "#### \xa320": "20",
    "#### US$20": "20",
    "#### USD 20": "20",
    "#### 20 USD": "20",
    "#### 20\u20ac": "20",
    "#### \xa520": "20",
    "#### \u20b91,20,000": "120000",
    "#### +72": "72",
    "#### \u20135": "-5",
    "#### \u22125": "-5",
    "#### - 5": "-5",
    "#### -$5": "-5",
    "#### $-5": "-5",
    "#### **72**": "72",
    "#### `72`": "72",
    "#### <72>": "72",
    "#### [72]": "72",
    '#### "72"': "72",
    "#### Answer: 72": "72",
    "#### The answer is 72": "72",
    "##### 72": "72",
    "####72": "72",
    "#### _72_": "72",
    "#### __72__": "72",
    "#### ~72": "72",
    "#### about 72": "72",
    "#### 72.0": "72",
    "#### 72.": "72",
    "#### 72 eggs": "72",
    "#### 72eggs": "72",
    "#### 72%": "72",
    "#### Final answer: $72": "72",
    "####\n72": "72",
    "#### \\textbf{72}": "72",
    "### Final Answer\n\n84 eggs": "84",
    "# Answer\n**84**": "84",
}
PLACES = {
    "The answer is 2**3 = 8.": "8",
    "The answer is 50 percent of 80, so 40.": "40",
    "She gets 84 eggs (12 x 7).": "84",
    "She has 30 left!": "30",
    "**84**": "84",
    "**Final Answer**\n84": "84",
    "Final Answer:\n84": "84",
    "**Final Answer:** 84": "84",
    "**Answer: 84**": "84",
    "**Answer:** $84": "84",
    "So we get\n**84**": "84",
    "The total is **84** eggs after 7 days.": "84",
    "So:\n\n**84**\n\nLet me know!": "84",
    "**84 eggs**": "84",
    "**Final Answer**: \\(84\\)": "84",
    "FINAL ANSWER: 84": "84",
    "Final Answer: The final answer is 84. I hope it is correct.": "84",
    "Answer: **$1,234**": "1234",
    "The answer is **84**.": "84",
    "The answer is: 84": "84",
    "The answer is therefore 84": "84",
    "The answer would be 84.": "84",
    "The answer to the question is 84.": "84",
    "The answer is 84 eggs in 7 boxes.": "84",
    "The answer is approximately 84.": "84",
    "The answer is \u2248 84.": "84",
    "84": "84",
    "84.": "84",
    "$84": "84",
    "1,234": "1234",
    "Therefore, 12 eggs are left.": "12",
    "She needs 84 eggs for 7 boxes.": "7",
    "The answer is 5. Wait, the answer is correct because 12.": "5",
    "The answer is -5.": "-5",
    "The answer is \u20135.": "-5",
    "The answer is $1,234.56.": "1234.56",
    "The answer is 1 234.": "1234",
    "The answer is 5 million.": "5000000",
    "The answer is 84\xa0eggs.": "84",
    "The answer is 12 dozen.": "144",
}
MORE = {
    "The answer is 7 * 12 = 84 eggs.": "84",
    "The answer is 12*7 which equals 84.": "84",
    "The answer is 84 = 7 \xd7 12.": "84",
    "Answer: 12 + 12 + 12 + 12 + 12 + 12 + 12 = 84": "84",
    "The answer is (12)(7) = 84.": "84",
    "The answer is 12 \u22c5 7 = 84.": "84",
    "The answer is 12 \u2219 7 = 84.": "84",
    "The answer is 12 \u2022 7 = 84.": "84",
    "The answer is 12 \u2715 7 = 84.": "84",
    "The answer is 12 \u2716 7 = 84.": "84",
    "The answer is 168 \u2215 2 = 84.": "84",
    "The answer is 168 : 2 = 84.": "84",
    "The answer is 12\xd77=84.": "84",
    "The answer is 12 * 7 == 84.": "84",
    "The answer is 12 * 7 \u21d2 84.": "84",
    "The answer is 12 * 7 -> 84.": "84",
    "The answer is 12 * 7 \u2192 84": "84",
    "The answer is 12 * 7: 84.": "84",
    "The answer is 12 * 7, i.e. 84.": "84",
    "The answer is 12 * 7 (= 84).": "84",
    "The answer is 12 * 7, that is 84.": "84",
    "The answer is 12 * 7, giving 84 eggs.": "84",
    "The answer is 12 * 7, for a total of 84.": "84",
    "The answer is $5.50 + $7.25 = $12.75.": "12.75",
    "The answer is $20 - $5 - $3 = $12 left.": "12",
    "The answer is 80 * 50% = 40.": "40",
    "The answer is 80 \xd7 0.5 = 40.0": "40",
    "The answer is 20% off $50, which is $40.": "40",
    "The answer is 50% of 80 = 40.": "40",
    "The answer is 50% of 80, i.e., 40.": "40",
    "The answer is half of 80, which is 40.": "40",
    "The answer is 3/4 of 100, which is 75.": "75",
    "The answer is 75% of 100, or 75.": "75",
    "#### 18 - 5 = $13": "13",
    "#### 12 * 7 = **84**": "84",
    "#### (12 * 7) = 84": "84",
    "#### $12 * 7 = 84$": "84",
    "#### \\(12 \\times 7 = 84\\)": "84",
    "#### 3 * 28 eggs = 84 eggs": "84",
    "#### 12 + 72 \u2192 84": "84",
    "#### -1/2": "-0.5",
    "#### 22/7": "3.142857",
    "#### 10/4 = 2.5": "2.5",
    "#### 2 3/4": "2.75",
    "#### 2\xbe": "2.75",
    "#### \u2154": "0.666667",
    "#### \xbc": "0.25",
    "#### \u215b": "0.125",
    "#### \u2157": "0.6",
    "#### 3\u20444": "0.75",
    "#### 1,000/4": "250",
    "#### 0.5": "0.5",
    "#### .5": "0.5",
    "#### 3/4 cups": "0.75",
    "#### \\tfrac{3}{4}": "0.75",
    "#### \\cfrac{3}{4}": "0.75",
    "#### \\frac{-3}{4}": "-0.75",
    "#### \\frac{3}{-4}": "-0.75",
    "#### \\frac{1,000}{4}": "250",
    "#### \\frac{3.5}{2}": "1.75",
    "#### 3 \\frac{1}{2}": "3.5",
    "#### 3\\,\\frac{1}{2}": "3.5",
    "#### \\frac 34": "0.75",
    "#### \\frac{\\text{3}}{4}": "0.75",
    "\\boxed{3\\frac{1}{2}}": "3.5",
    "\\boxed{\\frac{3}{4} \\text{ cup}}": "0.75",
    "\\boxed{\\$1{,}234.50}": "1234.5",
    "\\boxed{84\\text{ eggs}}": "84",
    "\\boxed{\\mathbf{84}}": "84",
    "\\boxed{\\text{The answer is } 84}": "84",
    "$$\\boxed{84}$$": "84",
    "\\[\\boxed{84}\\]": "84",
    "\\boxed{ \\boxed{ 84 } }": "84",
    "\\boxed{(84)}": "84",
    "\\boxed{{84}}": "84",
    "\\boxed{84,000}": "84000",
    "\\boxed{5 \\text{ million}}": "5000000",
    "\\boxed{12\\%}": "12",
    "\\boxed{84}^{\\text{th}}": "84",
    "\\boxed {84}": "84",
    "\\boxed{84\\;\\text{eggs}}": "84",
    "\\boxed{84~\\text{eggs}}": "84",
    "\\boxed{2^3=8}": "8",
    "\\boxed{1\\ 234}": "1234",
    "\\boxed{1~234}": "1234",
    "\\boxed{\\sqrt{49} = 7}": "7",
    "\\boxed{\\textcolor{red}{84}}": "84",
    "\\boxed{84} \\boxed{}": "84",
    "#### 1.234.567": "1234567",
    "#### 1 234,56": "1234.56",
    "#### 12 345.67": "12345.67",
    "#### 1\u2019234": "1234",
    "#### 1\u2007234": "1234",
    "#### 1\u2008234": "1234",
    "#### 12,345,678.90": "12345678.9",
    "#### 10 000": "10000",
    "#### 100 000 dollars": "100000",
    "#### $ 1 234": "1234",
    "#### 1,234 eggs and 5 boxes": "1234",
    "#### \uff11\uff12": "12",
    "#### \u0668\u0664": "84",
    "#### 5e6": "5000000",
    "#### 5E+6": "5000000",
    "#### 5 billion": "5000000000",
    "#### 2.5 thousand": "2500",
    "#### $3k": "3000",
    "#### 5 Million": "5000000",
    "#### #84": "84",
    "#### 84x": "84",
    "#### 84th": "84",
    "#### ~84": "84",
    "#### \u224884": "84",
    "#### >84": "84",
    "#### 84+": "84",
    "#### ($84)": "84",
    "#### Rs. 84": "84",
    "#### 84 \u20b9": "84",
    "#### 84\xa2": "84",
    "#### CHF 84": "84",
    "#### R$ 84": "84",
    "#### kr 84": "84",
    "#### \u20bd84": "84",
    "#### \u20bf84": "84",
    "#### AED 84": "84",
    "#### C$84": "84",
    "#### 84.-": "84",
    "**Final answer: 84**": "84",
    "**Final Answer**: **84**": "84",
    "## Final Answer\n\n**84 eggs**": "84",
    "## Answer: 84": "84",
    "__84__": "84",
    "_84_": "84",
    "*84*": "84",
    "***84***": "84",
    "**$84.00**": "84",
    "**84**.": "84",
    "The total is **84**": "84",
    "Thus:\n**84**": "84",
    "**Answer**\n\n84": "84",
    "Answer\n84": "84",
    "ANSWER: **84**": "84",
    "Final Answer: $\\boxed{84}$": "84",
    "<answer>84</answer>": "84",
    "<answer> 12 * 7 = 84 </answer>": "84",
    "Answer \u2192 84": "84",
    "Answer - 84": "84",
    "answer=84": "84",
    "The answer: 84": "84",
    "The correct answer is: **84 eggs**": "84",
    "So the answer is 84": "84",
    "the answer is $84$": "84",
    "The answer is `84`.": "84",
    'The answer is "84".': "84",
    "The answer is eighty-four (84).": "84",
    "The final answer is\n\n84": "84",
    "The final answer is\n$$84$$": "84",
    "**The answer is 12 * 7 = 84.**": "84",
    "The answer is not 12 but 84.": "84",
    "The answer isn't 12. It is 84.": "84",
    "Total: 84 eggs.": "84",
    "She has 30 left!": "30",
    "She gets 84 eggs (12 \xd7 7).": "84",
    "She gets 84 eggs [12 x 7].": "84",
    "That's 84 eggs!": "84",
    "So 7 boxes hold 84 eggs!": "84",
    "The answer is 84. (12 * 7 = 84)": "84",
    "#### 84\n#### 85": "84",
    "####84####": "84",
    "#### 84 ####": "84",
    "#### **Answer:** 84": "84",
    "#### Answer\n84": "84",
    "#### Final Answer\n\n84": "84",
    "#### Step 1: 12 * 7 = 84\n#### Answer: 84": "84",
    "#### 1) Boxes\n#### 2) Eggs\n#### 84": "84",
    "#### 1. First, 3\n#### 2. Then 5\n#### 8": "8",
}
NO_ANSWERS = (
    "\\boxed{\\frac{\\pi}{2}}",
    "\\boxed{\\text{None}}",
    "#### 5 x 10^6",
    "#### 3:45",
    "#### 15:30:00",
    "#### 2024-05-01",
    "#### 5/6/2024",
    "#### 3-4",
    "#### 3\u20134",
    "#### 1.2.3.4",
    "#### 0xff",
    "#### 0x0",
    "#### NaN",
    "#### inf",
    "The answer is 12 * 7.",
    "#### 12 * 7",
    "#### 7/0",
    "\\boxed{84",
    "#### 3:30 pm",
    "The answer is 3:30 pm.",
    "The answer is 3:4.",
    "#### 3-5",
    "#### 3/4/2024",
    "#### 1.2.3",
    "#### 0x10",
    "0x10",
    "The answer is 0x1f.",
    "#### 1e999999",
    "I don't know.",
    "We first add 3 + 4 = 7",
)


@pytest.mark.parametrize("kind", [EQUATIONS, FRACTIONS, BOXES, MARKED, PLACES, MORE])
def test_the_value_that_is_meant(kind: dict[str, str]) -> None:
    assert {text: read_answer(text) for text in kind} == kind


def test_no_part_of_something_else_is_the_answer() -> None:
    assert [text for text in NO_ANSWERS if read_answer(text) is not None] == []


SIGNS = (
    *("+", "-", "*", "/", "\u00d7", "\u00f7", "\u2212", "x", "times", "plus", "minus"),
    *("divided by", r"\times", r"\cdot", r"\div"),
)
operators = st.sampled_from(SIGNS)
places = st.sampled_from(
    [
        *("#### {}", "#### **{}**", "The answer is {}.", "The final answer is: ${}$.", "{}"),
        *("Answer: {}", "**Answer:** {}", "**Final Answer**\n{}", "Final answer: {} eggs"),
        r"So \boxed{{{}}}",
    ]
)
values = st.integers(0, 10**7) | st.decimals(0, 10**6, places=2)


@given(
    st.lists(st.tuples(values, operators), min_size=1, max_size=4), values, values, places,
    st.sampled_from([" = ", "=", " equals ", r" \approx ", "\u00a0= "]),
    st.sampled_from(["", "$", "\u20ac"]),
)  # fmt: skip
def test_an_equation_states_its_right_side_wherever_it_stands(
    terms: list[tuple[object, str]], last: object, value: object, place: str, is_: str, sign: str
) -> None:
    left = " ".join(f"{sign}{term} {operator}" for term, operator in terms)
    text = place.format(f"{left} {sign}{last}{is_}{sign}{value}")
    assert read_answer(text) == normalise(str(value))


@given(values, operators, values, st.sampled_from(["#### {}", "The answer is {}.", "Answer: {}"]))
def test_arithmetic_without_a_result_states_nothing(
    one: object, operator: str, other: object, place: str
) -> None:
    if operator not in ("/", "\u00f7", r"\div"):  # a fraction is a value
        assert read_answer(place.format(f"{one} {operator} {other}")) is None


@given(st.integers(1000, 10**12), st.sampled_from(",'_ \u00a0\u202f\u2009"), places)
def test_thousands_are_grouped_by_any_sign(number: int, separator: str, place: str) -> None:
    grouped = f"{number:,}".replace(",", separator)
    assert read_answer(place.format(grouped)) == str(number)


@given(st.integers(0, 99), st.integers(1, 99), st.integers(1, 99), places)
def test_a_fraction_is_its_quotient(whole: int, top: int, bottom: int, place: str) -> None:
    value = normalise(f"{top}/{bottom}")
    for fraction in (f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", f"{top} / {bottom}"):
        assert read_answer(place.format(fraction)) == value
    if whole:
        mixed = normalise(f"{whole * bottom + top}/{bottom}")
        assert read_answer(place.format(f"{whole} {top}/{bottom}")) == mixed


@given(st.integers(0, 2**64), st.sampled_from(["map", "generator", "<lambda>", "filter"]))
def test_an_address_is_no_number(address: int, kind: str) -> None:
    for text in (f"<{kind} object at {address:#x}>", f"{address:#x}", f"{address:#018X}"):
        assert normalise(text) is None
        assert read_answer(f"The answer is {text}.") is None


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("1 234", None),  # two numbers that were printed side by side
        ("1,5", None),
        ("12 * 7 = 84", "84"),
        ("a = 3, b = 4", None),
        ("84 eggs in 7 boxes", None),
        ("5 million", "5000000"),
        ("84.0 84", "84"),
        ("3/4/5", None),
        ("- 5", "-5"),
    ],
)
def test_a_program_states_one_number(output: str, number: str | None) -> None:
    assert normalise(output) == number


@given(st.text() | st.text(alphabet="#\\boxed{}frac answer is=12.,:/*-+$%() \n\u00a0e_x"))
def test_no_text_makes_it_fail(text: str) -> None:
    for read in (read_answer, final_answer, normalise):
        answer = read(text)
        assert answer is None or normalise(answer) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{-\\frac{1}{2}}", "-0.5"),
        ("#### -\\frac{7}{2}", "-3.5"),
        ("\\boxed{7\\frac{1}{2}}", "7.5"),
        ("#### 2 and a half", "2.5"),
        ("The answer is 84 dollars and 50 cents.", "84.5"),
        ("The answer is 5 hours and 30 minutes.", None),
        ("#### 0b11", None),
        ("#### 0o17", None),
    ],
)
def test_no_part_of_a_number_is_lost(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer
