"""Python 3.7's Unicode 11 → device_runner/unicode_table.py, the tokenizer's frozen rules.

Run it with Python 3.7, whose `unicodedata` is Unicode 11.0.0, the oldest of any Python that a
device may have:

    uv run --no-project --python 3.7 tools/make_unicode_table.py

The script prints the module; `--check FILE` compares instead. It need only be run again if a rule
below changes: the table itself is frozen, since a change would alter the ids of trained models.

Two sources agree but for a few hundred characters. The Hugging Face `tokenizers` library (0.23.3),
which decides what BERT's rules mean here, lower-cases by current tables, but takes categories from
Unicode 8 and combining classes from Unicode 9. What came later is neither mark nor punctuation nor
control to it, and a mark that came later is not sorted among others. The constants below list what
matters, found by asking the library about every code point; the tests ask it again.
"""

import argparse
import sys
import unicodedata

UNICODE_VERSION = "11.0.0"
# Marks, punctuation and controls of Unicode 9 to 11 (and letters between them, to no effect).
UNKNOWN_TO_UNICODE_8 = """
7fd 8d3-8e2 9fd-9fe a76 afa-aff c04 c84 d00 d3b-d3c 1885-1886 1df6-1df9 1dfb 2e43-2e4e a8c5 a8ff
10d24-10d27 10f46-10f59 110cd 1123e 1133b 11438-1145e 11660-1166c 1182f-1183b 11a01-11aa2
11c30-11c71 11c92-11cb6 11d31-11d97 11ef3-11ef8 16e97-16e9a 1e000-1e02a 1e944-1e95f
"""
# Punctuation then, a mark now.
CHANGED_SINCE_UNICODE_8 = {0x111C9: "Po"}
# Marks with a combining class of Unicode 10 and 11.
UNKNOWN_TO_UNICODE_9 = """
7fd 8d3 9fe d3b-d3c 1df6-1df9 10d24-10d27 10f46-10f50 1133b 1145e 11839-1183a 11a34 11a47 11a99
11d42 11d44-11d45 11d97
"""

# The blocks that BERT's rules set apart as Chinese, whole, so that later additions are covered.
CHINESE = "3400-4dbf 4e00-9fff f900-faff 20000-2a6df 2a700-2b81f 2b920-2ceaf 2f800-2fa1f"
ASCII_PUNCTUATION = "21-2f 3a-40 5b-60 7b-7e"

# Invisible characters that stand between words. The joiners U+200C and U+200D and the soft hyphen
# stand within words (Persian, Hindi, German), so they are not here.
SEPARATING_FORMATS = "61c 200b 200e-200f 202a-202e 2060-2064 2066-206f feff"
DELIMITER_CATEGORIES = ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp")
DELIMITER_CATEGORIES += ("Sm", "Sc", "Sk", "Cc")  # "So" stays: symbols and emoji carry meaning

HEADER = f'''"""Code points → the character classes of the tokenizer's rules, frozen at Unicode 11.

Made by tools/make_unicode_table.py, which says why; do not edit. Ranges are hexadecimal, both ends
included.
"""

UNICODE_VERSION = "{UNICODE_VERSION}"
'''


def parse_ranges(text):
    codes = set()
    for part in text.split():
        start, _, end = part.partition("-")
        codes.update(range(int(start, 16), int(end or start, 16) + 1))
    return codes


def format_ranges(codes):
    ranges = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return [f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in ranges]


def format_lower():
    """Returns "first-last/step+difference" for runs, "code=codes" where one becomes several."""
    runs = []
    several = []
    for code in range(0x110000):
        lower = [ord(char) for char in chr(code).lower()]
        if len(lower) > 1:
            several.append(f"{code:x}=" + ",".join(f"{part:x}" for part in lower))
        elif lower[0] != code:
            difference = lower[0] - code
            run = runs[-1] if runs else None
            if run and run[2] == difference and code - run[1] in (1, 2):
                if run[0] == run[1] or code - run[1] == run[3]:
                    run[3] = code - run[1]
                    run[1] = code
                    continue
            runs.append([code, code, difference, 1])
    return [f"{a:x}-{b:x}/{step}{difference:+d}" for a, b, difference, step in runs] + several


def classes():
    """Returns the table: name, what it says, and the entries as texts."""
    category = [unicodedata.category(chr(code)) for code in range(0x110000)]
    old = list(category)
    for code in parse_ranges(UNKNOWN_TO_UNICODE_8):
        old[code] = "Cn"
    for code, value in CHANGED_SINCE_UNICODE_8.items():
        old[code] = value

    def select(categories, names):
        return {code for code in range(0x110000) if categories[code] in names}

    controls = select(old, ("Cc", "Cf", "Co", "Cs")) - {0x09, 0x0A, 0x0D}
    spaces = select(old, ("Zs", "Zl", "Zp")) | {0x09, 0x0A, 0x0D}
    punctuation = select(old, [name for name in DELIMITER_CATEGORIES if name[0] == "P"])
    delimiters = select(category, DELIMITER_CATEGORIES) | parse_ranges(SEPARATING_FORMATS)
    return [
        ("UNASSIGNED", "Not assigned in Unicode 11; kept as they are.", select(category, ("Cn",))),
        (
            "UNORDERED",
            "Marks that normalization leaves in their place, as if they were letters.",
            parse_ranges(UNKNOWN_TO_UNICODE_9),
        ),
        ("REMOVED", "NUL, U+FFFD, control, format, private use, surrogates.", controls | {0xFFFD}),
        ("SPACES", "Become one space.", spaces),
        ("CHINESE", "Each a word of its own.", parse_ranges(CHINESE)),
        ("MARKS", "Accents: nonspacing marks.", select(old, ("Mn",))),
        ("PUNCTUATION", "Each a word of its own.", punctuation | parse_ranges(ASCII_PUNCTUATION)),
        (
            "WORD_DELIMITERS",
            "Between the words of the kind `word`; below U+10000, as JavaScript's plain regular\n"
            "# expressions see nothing above.",
            {code for code in delimiters if code < 0x10000},
        ),
    ]


def format_constant(name, comment, entries):
    lines = ["", "# " + comment, f"{name} = ("]
    line = ""
    for entry in entries:
        if len(line) + len(entry) > 90:
            lines.append(f'    "{line}"')
            line = ""
        line += entry + " "
    last = f'"{line.rstrip()}"'
    if len(lines) == 3:
        return lines[:2] + [f"{name} = {last}"]
    return lines + ["    " + last, ")"]


def make_module():
    """Returns the text of device_runner/unicode_table.py."""
    lines = []
    for name, comment, codes in classes():
        lines += format_constant(name, comment, format_ranges(codes))
    comment = "One character at a time: first-last/step+difference, or code=codes."
    lines += format_constant("LOWER", comment, format_lower())
    return HEADER + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", metavar="FILE", help="exit 1 if FILE is not what would be made")
    arguments = parser.parse_args()
    if unicodedata.unidata_version != UNICODE_VERSION:
        sys.exit(
            f"Error: this Python's Unicode is {unicodedata.unidata_version}, the table needs "
            f"{UNICODE_VERSION}. Run it with Python 3.7."
        )
    text = make_module()
    if arguments.check is None:
        sys.stdout.write(text)
    elif open(arguments.check, encoding="utf-8").read() != text:
        sys.exit(f"Error: {arguments.check} differs from what this script makes. Make it again.")


if __name__ == "__main__":
    main()
