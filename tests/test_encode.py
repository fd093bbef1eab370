"""device_runner.encode against the Hugging Face library, JavaScript, RE2 and hand-made truth."""

import gzip
import hashlib
import json
import random
import re
import shutil
import subprocess
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from device_runner import encode, normalize, unicode_table
from device_runner.encode import Tokenizer, TokenizerSpec, format_vocabulary, read_vocabulary
from tfpipe.tokenizer import tokenizer_spec, train_vocabulary

UNASSIGNED = normalize.CharacterSet(unicode_table.UNASSIGNED)
SURROGATES = range(0xD800, 0xE000)
PRIVATE = {*range(0xE000, 0xF900), *range(0xF0000, 0x110000)}
ASSIGNED = [c for c in range(0x110000) if c not in UNASSIGNED and c not in SURROGATES]
MARKS = [c for codes in normalize.CharacterSet(unicode_table.MARKS).ranges for c in codes]

# Marks of different combining classes, Hangul syllables and letters, capitals with odd lower case,
# what composes, what is removed, what separates; random draws alone would seldom put them together.
TRICKY = (
    "aAbZ09 \t\n\r\0\x0b\x1c\x85\xa0\u3000\ufffd\ufeff\u200b\u200d\u200e\u202e\xad!'_#[]$`|é"
    "\u0301\u0323\u0327\u0345\u05b0\u05bc\u0e31\u0e38\u0e48\u093f\u0941\u094d\u302e\u3099\u1dfa"
    "\u08d3\u1df6\U0001d165\U00010f46\U00011a34İıßẞΣσςǅΩÅKﬁＡ가각힣\u1100\u1161\u11a8中文\uf900々ひらがなカﾀﾞไทยاَלהпрй😀🏽\U0002a6d6"
)
ASSIGNED_TEXT = st.text(
    st.one_of(
        st.sampled_from(TRICKY),
        st.sampled_from(ASSIGNED).map(chr),
        st.sampled_from(MARKS).map(chr),
    ),
    max_size=60,
)
ANY_TEXT = st.text(st.one_of(st.sampled_from(TRICKY), st.characters()), max_size=60)

HOSTILE = [
    "",
    " ",
    "\0",
    "\0\0a\0b",
    "\ufffda\ufffd",
    "a\u200db\u200cc\u200bd",
    "\u202eabc\u202c \u200fשלום\u200e",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ",
    "İstanbul ıIiİ",
    "a" * 100 + " " + "b" * 101 + " " + "c" * 10_000,
    "\u0301\u0300\u0323",
    "a\u0323\u0301 a\u0301\u0323",
    "\u302e\u1df6\u302f\u0e38\U0001d165\u0301",
    "[PAD] [UNK] <PAD> ##a ##",
    "don't can’t -- ... !?",
    "\x1c\x1d\x1e\x1f\x85\u2028\u2029",
    "한국어 \u1112\u1161\u11ab",
    "中文abc中文 日本語のテキスト ภาษาไทยไม่มีช่องว่าง",
    "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 e\u0301\u20dd",
    "\r\n\t mixed \u3000 spaces \xa0",
    "\uffff\ufffe\U0010ffff",
    "ﬁ ǅ ẞ Ω Å K ｡･ﾟ",
]


def hugging_face(lowercase, vocabulary=("[PAD]", "[UNK]")):
    """The library's tokenizer: what BERT's rules mean."""
    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = HuggingFaceTokenizer(
        models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def hugging_face_words(tokenizer, text):
    normalized = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]


def vocabulary_of(words):
    """Half of the words' letters and neighbouring pairs, so that each way to fail occurs."""
    tokens = {}
    for word in words:
        for start in range(len(word)):
            for end in (start + 1, start + 2):
                piece = word[start:end]
                if hashlib.md5(piece.encode()).digest()[0] % 4 != 0:
                    tokens["##" + piece if start else piece] = True
    return ["[PAD]", "[UNK]", *tokens]


def assert_equals_hugging_face(text, lowercase):
    reference = hugging_face(lowercase)
    words = hugging_face_words(reference, text)
    assert normalize.split_words(text, lowercase) == words
    vocabulary = vocabulary_of(words)
    expected = hugging_face(lowercase, vocabulary).encode(text, add_special_tokens=False).ids
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", lowercase), vocabulary)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected  # from the cache


def test_unassigned_leaves_the_published_number_of_characters():
    # Unicode 11.0 has 137,374 graphic and format characters, 65 controls, 137,468 for private use.
    assert len(ASSIGNED) == 137_374 + 65 + 137_468
    assert unicode_table.UNICODE_VERSION == "11.0.0"


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece_splits_every_assigned_code_point_as_hugging_face_does(lowercase):
    reference = hugging_face(lowercase)
    for start in range(0, len(ASSIGNED), 2000):
        text = " ".join(f"a{chr(code)}B" for code in ASSIGNED[start : start + 2000])
        assert normalize.split_words(text, lowercase) == hugging_face_words(reference, text)


@pytest.mark.parametrize("form", ["A{}\u0323\u0301", "\u0345\u302e{}\u1df6B"])
def test_wordpiece_sorts_marks_as_hugging_face_does(form):
    reference = hugging_face(True)
    codes = [code for code in ASSIGNED if code not in PRIVATE]
    for start in range(0, len(codes), 2000):
        text = " ".join(form.format(chr(code)) for code in codes[start : start + 2000])
        assert normalize.split_words(text, True) == hugging_face_words(reference, text)


@pytest.mark.parametrize("lowercase", [True, False])
@settings(max_examples=300, deadline=None)
@given(text=ASSIGNED_TEXT)
def test_wordpiece_equals_hugging_face_on_random_unicode(lowercase, text):
    assert_equals_hugging_face(text, lowercase)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_wordpiece_equals_hugging_face_on_hostile_texts(lowercase, text):
    assert_equals_hugging_face(text, lowercase)


def packaged_texts():
    for file in sorted(resources.files("tfpipe.datasets").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".tsv.gz"):
            lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
            yield file.name, [line.split("\t", 1)[1] for line in lines if line]


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece_equals_hugging_face_on_packaged_data(lowercase):
    sets = list(packaged_texts())
    assert len(sets) >= 2
    for name, texts in sets:
        spec = tokenizer_spec("wordpiece", lowercase)
        vocabulary = train_vocabulary(texts, spec, 4000)
        tokenizer = Tokenizer(spec, vocabulary)
        ours = [tokenizer.encode(text) for text in texts]
        reference = hugging_face(lowercase, vocabulary)
        encodings = reference.encode_batch(texts, add_special_tokens=False)
        assert ours == [encoding.ids for encoding in encodings], name
        assert any(ids.count(1) < len(ids) for ids in ours)


def test_rules_are_the_same_in_every_python():
    # Every code point of planes 0 and 1, assigned or not, with neighbours that interact with it.
    # The digest was made with Python 3.7 (Unicode 11); 3.8 to 3.13 (Unicode 15.1) give the same.
    digest = hashlib.sha256()
    planes = (*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 97))
    for start in range(0, len(planes), 500):
        text = " ".join(f"A{chr(c)}\u0323\u302e\u0301" for c in planes[start : start + 500])
        for lowercase in (True, False):
            words = normalize.split_words(text, lowercase)
            clean = normalize.clean_text(text, lowercase)
            digest.update(json.dumps([words, clean, normalize.lower_text(text)]).encode())
    assert digest.hexdigest() == "cb16e51dce3250d2136e8a20350d38297db02929e1716822facfb665b144f65b"


def test_table_is_what_the_script_makes():
    python = shutil.which("python3.7")
    script = Path(__file__).parent.parent / "tools" / "make_unicode_table.py"
    # A version manager may have a python3.7 on the PATH that does not run.
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip("needs python3.7 on the PATH")
    subprocess.run([python, script, "--check", unicode_table.__file__], check=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u1acfA", ["\u1acfa"]),  # a mark of Unicode 14: kept
        ("\ua7ba", ["\ua7ba"]),  # a capital of Unicode 12: not lower-cased
        ("\U00011938", ["\U00011938"]),  # decomposes since Unicode 13: kept whole
        ("e\u0301\u1acfe\u0301", ["e\u1acfe"]),
        ("\u2e4fa", ["\u2e4fa"]),  # punctuation of Unicode 12: part of a word
        ("a\u9ffeb", ["a", "\u9ffe", "b"]),  # Unicode 14, in a block of Chinese characters
    ],
)
def test_wordpiece_keeps_what_unicode_11_did_not_assign(text, words):
    assert normalize.split_words(text, True) == words


def test_many_accents_take_linear_time():
    start = time.process_time()
    assert normalize.split_words("a" + "\u0301\u0323" * 200_000, True) == ["a"]
    # 0.05 s here; the decomposition's sort alone would take minutes.
    assert time.process_time() - start < 10


@pytest.mark.parametrize("pattern", ["[ ]+", "[,]+", r"[\x0a,]+", r"[ \x0a,]+", r"[\x00-\x20]+"])
@settings(max_examples=50, deadline=None)
@given(text=st.text("aB ,\n\t\0", max_size=30), length=st.integers(1, 9))
def test_word_splits_at_its_own_pattern_only(pattern, text, length):
    vocabulary = ["<PAD>", "<START>", "<UNKNOWN>", "a", "b", "a b", "a\tb", "ab", "a,b"]
    tokenizer = Tokenizer(TokenizerSpec("word", True, pattern), vocabulary)
    words = [word for word in re.split(pattern, text.lower()) if word]
    expected = [1, *(vocabulary.index(w) if w in vocabulary else 2 for w in words)]
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text, length) == expected[:length]


def test_wordpiece_gives_hand_made_ids():
    vocabulary = ["[PAD]", "[UNK]", "un", "##aff", "##able", "a", "##a", ",", "中"]
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", True), vocabulary)
    assert tokenizer.encode("Unáffable,中 x aa aaff") == [2, 3, 4, 7, 8, 1, 5, 6, 5, 3]
    assert tokenizer.tokenize("UN x") == ["un", "[UNK]"]


def test_word_gives_hand_made_ids():
    vocabulary = ["<PAD>", "<START>", "<UNKNOWN>", "hello", "World", "t"]
    folded = Tokenizer(tokenizer_spec("word", True), vocabulary)
    assert folded.encode("Hello, World! <PAD> Don't") == [1, 3, 2, 2, 2, 5]
    exact = Tokenizer(tokenizer_spec("word", False), vocabulary)
    assert exact.encode("Hello, World!") == [1, 2, 4]
    assert exact.encode("") == [1]
    assert exact.tokenize("hello you") == ["<START>", "hello", "<UNKNOWN>"]


def test_char_gives_hand_made_ids():
    tokenizer = Tokenizer(tokenizer_spec("char", True), ["<PAD>", "<UNKNOWN>", " ", "a", "σ", "😀"])
    assert tokenizer.encode(" \t A\u3000\0\n aΣ😀x\x85 ") == [3, 2, 3, 4, 5, 1]
    assert tokenizer.encode("\0 \n") == []


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_clean_text_has_single_spaces_and_no_control(text):
    clean = normalize.clean_text(text, False)
    assert clean == clean.strip(" ") and "  " not in clean
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in clean)
    assert normalize.clean_text(clean, False) == clean


TOKENIZERS = [
    Tokenizer(tokenizer_spec(kind, lowercase), [*encode.SPECIAL_TOKENS[kind], *"abz9!'中가é "])
    for kind in sorted(encode.SPECIAL_TOKENS)
    for lowercase in (True, False)
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: f"{t.spec.kind}-{t.spec.lowercase}")
@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT, length=st.integers(1, 40))
def test_cutting_and_padding_keep_the_first_ids(tokenizer, text, length):
    ids = tokenizer.encode(text)
    assert tokenizer.encode(text, length) == ids[:length]
    row = tokenizer.encode_padded(text, length)
    assert row.dtype == np.int32 and row.shape == (length,)
    assert row.tolist() == (ids + [0] * length)[:length]
    batch = tokenizer.encode_batch([text, ""], length)
    assert batch.dtype == np.int32 and batch[0].tolist() == row.tolist()
    assert all(0 <= index < tokenizer.vocabulary_size for index in ids)


def test_char_cut_looks_beyond_removed_characters():
    tokenizer = Tokenizer(tokenizer_spec("char", True), ["<PAD>", "<UNKNOWN>", "a", "b"])
    assert tokenizer.encode("\0" * 500 + "ab", 2) == [2, 3]


def test_caches_stay_bounded_and_change_nothing(monkeypatch):
    monkeypatch.setattr(encode, "_MAX_CACHED_WORDS", 5)
    vocabulary = ["[PAD]", "[UNK]", *"0123456789", *(f"##{digit}" for digit in range(10))]
    tokenizer = Tokenizer(tokenizer_spec("wordpiece", True), vocabulary)
    for number in random.Random(1).choices(range(1000), k=200):
        assert tokenizer.tokenize(f"{number} {'9' * 99}") == [
            *(d if i == 0 else "##" + d for i, d in enumerate(str(number))),
            *("9", *["##9"] * 98),
        ]
        assert len(tokenizer._chunk_cache) <= 5 and len(tokenizer._word_cache) <= 5
        assert "9" * 99 not in tokenizer._chunk_cache


def word_texts():
    rng = random.Random(1)
    codes = [c for c in range(0x110000) if c not in SURROGATES]
    texts = ["".join(chr(rng.choice(codes)) for _ in range(40)) for _ in range(300)]
    texts += ["".join(rng.choice(TRICKY) for _ in range(60)) for _ in range(700)]
    # Every code point of the Basic Multilingual Plane, each between letters.
    bmp = [c for c in codes if c < 0x10000]
    texts += ["".join(f"a{chr(c)}" for c in bmp[i : i + 500]) for i in range(0, len(bmp), 500)]
    return [text for text in texts if "\0" not in text] + ["a\0b", "", "...", "a"]


def python_words(text):
    return encode.split_text(text, tokenizer_spec("word", False))


def test_word_delimiters_mean_the_same_in_javascript(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node on the PATH")
    texts = word_texts()
    pattern = tokenizer_spec("word", False).delimiter_pattern
    (tmp_path / "in.json").write_text(json.dumps({"pattern": pattern, "texts": texts}))
    script = (
        "const {pattern, texts} = JSON.parse(require('fs').readFileSync(process.argv[1]));"
        "console.log(JSON.stringify(['', 'u'].map(flags => texts.map("
        "text => text.split(new RegExp(pattern, flags)).filter(word => word)))))"
    )
    run = subprocess.run(
        [node, "-e", script, tmp_path / "in.json"], check=True, capture_output=True
    )
    plain, unicode_aware = json.loads(run.stdout)
    assert plain == unicode_aware == [python_words(text) for text in texts]


def test_word_delimiters_mean_the_same_in_re2():
    re2 = pytest.importorskip("re2", reason="needs google-re2")
    pattern = re2.compile(f"({tokenizer_spec('word', False).delimiter_pattern})")
    for text in word_texts():
        words, end = [], 0
        for match in pattern.finditer(text):  # as MediaPipe's tokenizer does
            words.append(text[end : match.start()])
            end = match.end()
        words.append(text[end:])
        assert [word for word in words if word] == python_words(text)


def test_word_delimiters_are_spaces_and_punctuation():
    delimiters = "\0\t\n\r \x7f\xa0!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»¿×€"
    delimiters += "\u2019“”…、。！？・\u3000\u200b\ufeff"
    inside = "aZ09éñßŁЖ中あア가ไ\u0e31\u093f\u094d\u0301\u200c\u200d\xad©☺😀²½ª\ua7ba"
    assert all(python_words(f"a{char}b") == ["a", "b"] for char in delimiters)
    assert all(python_words(f"a{char}b") == [f"a{char}b"] for char in inside)


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_word_lower_casing_comes_first_and_looks_at_no_neighbour(text):
    def lowered(char):
        return char.lower() if ord(char) not in UNASSIGNED else char

    expected = python_words("".join(lowered(char) for char in text))
    assert encode.split_text(text, tokenizer_spec("word", True)) == expected


def test_lone_surrogates_are_unknown_or_removed():
    word, char, piece = (
        Tokenizer(tokenizer_spec(kind, True), [*encode.SPECIAL_TOKENS[kind], "a", "b"])
        for kind in ("word", "char", "wordpiece")
    )
    assert word.encode("a \ud800 b") == [1, 3, 2, 4]
    assert char.encode("a\udfffb") == [2, 3]
    assert piece.encode("a \ud800 b\udc00") == [2, 3]


def test_vocabulary_survives_the_file(tmp_path):
    tokens = ["<PAD>", "<START>", "<UNKNOWN>", "\r", "a\u2028b", "\x85", "\ufeff", " ", "é", "😀"]
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(format_vocabulary(tokens).encode("utf-8"))
    assert read_vocabulary(path) == tokens
    path.write_bytes(format_vocabulary(tokens).encode("utf-8").rstrip(b"\n"))
    assert read_vocabulary(str(path)) == tokens


def test_read_vocabulary_refuses_another_encoding(tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes("<PAD>\nköln\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"vocabulary.txt is not UTF-8: byte 7 is 0xf6\. Use"):
        read_vocabulary(path)


@pytest.mark.parametrize(
    ("kind", "vocabulary", "message"),
    [
        (
            "word",
            ["<PAD>", "<UNKNOWN>"],
            r"begins with \['<PAD>', '<UNKNOWN>'\]; kind='word' needs",
        ),
        (
            "wordpiece",
            [],
            r"begins with \[\]; kind='wordpiece' needs \['\[PAD\]', '\[UNK\]'\]\. Use",
        ),
        ("char", ["<PAD>\r", "<UNKNOWN>\r"], r"begins with .*kind='char' needs"),
        (
            "word",
            ["<PAD>", "<START>", "<UNKNOWN>", "a", "a"],
            r"Token 4 .*'a', is there twice\. Use",
        ),
        ("wordpiece", ["[PAD]", "[UNK]", "[PAD]"], r"Token 2 .* is there twice"),
        ("wordpiece", ["[PAD]", "[UNK]", ""], r"Token 2 .*'', is empty or not a text"),
        ("char", ["<PAD>", "<UNKNOWN>", 3], r"Token 2 .*3, is empty or not a text"),
        ("wordpiece", ["[PAD]", "[UNK]", "a\nb"], r"Token 2 .* has a line end"),
        ("word", ["<PAD>", "<START>", "<UNKNOWN>", "\ud800"], r"has a lone surrogate"),
        ("char", ["<PAD>", "<UNKNOWN>", "ab"], r"Token 2 .*'ab', is not one character"),
    ],
)
def test_tokenizer_refuses_a_wrong_vocabulary(kind, vocabulary, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer(tokenizer_spec(kind, True), vocabulary)


@pytest.mark.parametrize("kind", sorted(encode.SPECIAL_TOKENS))
def test_spec_survives_json(kind):
    spec = tokenizer_spec(kind, False)
    assert TokenizerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


GOOD = {"kind": "word", "lowercase": True, "delimiter_pattern": "[ ]+", "max_chars_per_word": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "bpe"},
            r"kind='bpe' is not known\. Use one of \['char', 'text_vectorization', 'word'",
        ),
        ({"kind": ["word"]}, r"kind=\['word'\] is not known"),
        ({"lowercase": 1}, r"lowercase=1 is not a bool\. Use true or false"),
        (
            {"kind": "char"},
            r"delimiter_pattern='\[ \]\+' does not fit kind='char'\. Leave it empty",
        ),
        ({"max_chars_per_word": 5}, r"max_chars_per_word=5 does not fit kind='word'\. Use"),
        ({"max_chars_per_word": False}, r"max_chars_per_word=False does not fit kind='word'"),
        (
            {"kind": "wordpiece", "delimiter_pattern": ""},
            r"max_chars_per_word=0 does not fit kind='wordpiece'",
        ),
        ({"extra": 1}, r"keys are \['kind', .*, 'extra'\], not \['kind', 'lowercase'"),
    ],
)
def test_spec_refuses_wrong_values(changes, message):
    with pytest.raises(ValueError, match=message):
        TokenizerSpec.from_json({**GOOD, **changes})


@pytest.mark.parametrize("value", [None, [], {}, {"kind": "char"}, {1: 2, "kind": "char"}])
def test_spec_refuses_other_json(value):
    with pytest.raises(ValueError, match=r"The tokenizer's keys are .* Export the model again"):
        TokenizerSpec.from_json(value)


@pytest.mark.parametrize(
    "pattern",
    # What engines read differently, or what could loop or backtrack.
    [
        "",
        "x",
        "[]+",
        "[^a]+",
        r"[\w]+",
        r"[^\w']+",
        r"[\s]+",
        r"\b",
        "[a]*",
        "[a]",
        "([a])+",
        "[[a]+",
    ]
    + ["[a-]+", "[a--b]+", "[a+", "[a]+|b", r"[\d]+", r"[\n]+", r"[\x4]+", "[a]+?", None, 3],
)
def test_spec_refuses_patterns_that_engines_read_differently(pattern):
    with pytest.raises(
        ValueError, match=r"delimiter_pattern=.* is not one character class such as"
    ):
        TokenizerSpec("word", True, pattern)


@pytest.mark.parametrize(
    "pattern", ["[z-a]+", "[😀]+", "[a-\uffff]+", "[\ud800]+", "[\ud7ff-\ue000]+"]
)
def test_spec_refuses_ranges_that_engines_read_differently(pattern):
    with pytest.raises(
        ValueError, match=r"has the range U\+[0-9A-F]+ to U\+[0-9A-F]+, which engines"
    ):
        TokenizerSpec("word", True, pattern)


@pytest.mark.parametrize("pattern", [r"[\x00-\x20\[\]\\\^\-]+", "[ ]+", "[a-cé\u3000]+"])
def test_spec_takes_one_plain_class(pattern):
    assert TokenizerSpec("word", True, pattern).delimiter_pattern == pattern


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:1])
def test_lengths_below_one_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"max_tokens=0 is below 1\. Use None for all tokens"):
        tokenizer.encode("a", 0)
    with pytest.raises(ValueError, match=r"sequence_length=-1 is below 1\. Use at least 1"):
        tokenizer.encode_padded("a", -1)
