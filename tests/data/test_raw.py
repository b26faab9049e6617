"""Raw pickles: both spellings are read, hostile and damaged ones are refused in one sentence."""

import contextlib
import pickle
import struct
import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.names import unique_names
from common.data.raw import Raw, RawSplit, read_raw, read_split, write_raw
from common.system.errors import UserError


def tiny_split(n: int = 4, side: int = 2) -> RawSplit:
    images = np.arange(n * 3 * side * side, dtype=np.uint8).reshape(n, 3, side, side)
    return RawSplit(
        images,
        [i % 3 for i in range(n)],
        [i % 3 // 2 for i in range(n)],
        [f"i{i}.png" for i in range(n)],
    )


def tiny_raw(n: int = 4) -> Raw:
    return Raw(tiny_split(n), tiny_split(n), ["a", "b", "c"], ["low", "high"])


def equal(one: RawSplit, other: RawSplit) -> bool:
    same = (one.fine, one.coarse, one.names) == (other.fine, other.coarse, other.names)
    return same and np.array_equal(one.images, other.images)


# ---------------------------------------------------------------- the spelling of Python 2


def py2(value: object) -> bytes:
    """Opcodes as Python 2's cPickle writes them in protocol 2, without the memo."""
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING, not BINBYTES
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(py2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(py2(k) + py2(v) for k, v in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    dtype = (
        b"cnumpy\ndtype\n"
        + py2(value.dtype.str[1:].encode())
        + py2(0)
        + py2(1)
        + b"\x87R("
        + py2(3)
        + py2(b"|")
        + b"NNN"
        + py2(-1)
        + py2(-1)
        + py2(0)
        + b"tb"
    )
    shape = b"".join(map(py2, value.shape))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n("
        + py2(0)
        + b"t"
        + py2(b"b")
        + b"\x87R("
        + py2(1)
        + b"("
        + shape
        + b"t"
        + dtype
        + b"\x89"
        + py2(value.tobytes())
        + b"tb"
    )


def content(split: RawSplit) -> dict[bytes, object]:
    return {
        b"filenames": [name.encode() for name in split.names],
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": split.fine,
        b"coarse_labels": split.coarse,
        b"data": split.images.reshape(len(split.images), -1),
    }


def write_py2(value: object, path: Path) -> Path:
    path.write_bytes(b"\x80\x02" + py2(value) + b".")
    return path


def test_python_2_spelling(tmp_path: Path) -> None:
    path = write_py2(content(tiny_split()), tmp_path / "train")
    text = path.read_bytes()
    assert b"numpy.core.multiarray" in text
    assert b"_codecs" not in text
    assert equal(read_split(path), tiny_split())


def test_new_spelling(tmp_path: Path) -> None:
    write_raw(tiny_raw(), tmp_path)
    text = (tmp_path / "train").read_bytes()
    assert text.startswith(b"\x80\x02")
    assert b"_codecs\nencode" in text
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):  # NumPy 1 and 2
        for found in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
            (tmp_path / "train").write_bytes(text.replace(b"c" + found, b"c" + module))
            if b"c" + found in text:
                raw = read_raw(tmp_path)
                assert equal(raw.train, tiny_split())
    assert (raw.fine_names, raw.coarse_names) == (["a", "b", "c"], ["low", "high"])


def test_what_a_broken_off_command_left_is_not_read_with_files_of_an_earlier_one(
    tmp_path, monkeypatch
):
    write_raw(tiny_raw(), tmp_path)
    monkeypatch.setattr(pickle, "dump", Mock(side_effect=[None, KeyboardInterrupt]))
    with pytest.raises(KeyboardInterrupt):
        write_raw(tiny_raw(), tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match="meta"):
        read_raw(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_other_protocols_and_text_keys(tmp_path: Path, protocol: int) -> None:
    split = tiny_split()
    made = {key.decode(): value for key, value in content(split).items()}
    made["filenames"] = split.names
    for data in (made["data"], np.frombuffer(made["data"].tobytes(), np.uint8).reshape(4, 12)):
        (tmp_path / "x").write_bytes(pickle.dumps(made | {"data": data}, protocol=protocol))
        assert equal(read_split(tmp_path / "x"), split)
    columns = made | {"data": np.asfortranarray(made["data"])}
    (tmp_path / "x").write_bytes(pickle.dumps(columns, protocol=protocol))
    refused(tmp_path / "x", "numpy.ascontiguousarray(data)")


@given(n=st.integers(1, 6), side=st.integers(1, 9), seed=st.integers(0, 99))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, n: int, side: int, seed: int) -> None:
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(seed)
    split = tiny_split(n)
    split.images = rng.integers(0, 256, (n, 3, side, side), np.uint8)
    write_raw(Raw(split, split, ["a", "b", "ü"], ["low", "high"]), folder)
    raw = read_raw(folder)
    assert equal(raw.train, split)
    assert equal(raw.test, split)
    assert raw.fine_names == ["a", "b", "ü"]


# ---------------------------------------------------------------- hostile files


class Runs:
    """Pickles into a call of anything."""

    def __init__(self, function: object, *args: object) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> tuple:
        return self.reduced


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_split(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_call_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("still here")
    import os

    for protocol in range(6):
        (tmp_path / "train").write_bytes(pickle.dumps(Runs(os.unlink, str(victim)), protocol))
        refused(tmp_path / "train", "posix.unlink" if os.name == "posix" else "unlink")
        assert victim.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval", "builtins bytes", "__builtin__ getattr", "os system", "numpy load",
        "numpy._core.multiarray scalar", "codecs decode", "_codecs decode", "numpy dtype.__init__",
        "common.data.raw Path", "copyreg _reconstructor",
    ],
)  # fmt: skip
def test_only_the_known_names(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    (tmp_path / "x").write_bytes(f"c{module}\n{attribute}\n.".encode())
    refused(tmp_path / "x", f"{module}.{attribute}")
    parts = b"".join(b"\x8c" + bytes([len(p)]) + p.encode() for p in (module, attribute))
    (tmp_path / "x").write_bytes(b"\x80\x04" + parts + b"\x93.")  # STACK_GLOBAL
    refused(tmp_path / "x", f"{module}.{attribute}")


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cnumpy\nndarray\n(K\x01tR.",  # an array of a size of its own choice
        b"cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.",  # a state for a name
        b"cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"cnumpy.core.multiarray\n_reconstruct\n)R}b.",  # a state of another form
        b"Pabc\n.",  # a persistent id
        b"\x80\x63.",  # an unknown protocol
        b"",
        b"not a pickle",
        b"K\x01.",
    ],
)
def test_misuse_of_the_known_names(tmp_path: Path, opcodes: bytes) -> None:
    (tmp_path / "x").write_bytes(opcodes)
    refused(tmp_path / "x")


@pytest.mark.parametrize("text", [b"X\x01\x00\x00\x00a", b"K\x01"])
@pytest.mark.parametrize("encoding", [b"X\x05\x00\x00\x00rot13", b"X\x05\x00\x00\x00utf-8"])
def test_only_text_is_encoded_and_only_in_latin1(tmp_path, text: bytes, encoding: bytes) -> None:
    (tmp_path / "x").write_bytes(b"c_codecs\nencode\n(" + text + encoding + b"tR.")
    refused(tmp_path / "x", "latin1")


def test_nothing_known_can_be_changed_from_inside(tmp_path: Path) -> None:
    state = b"(N}X\x04\x00\x00\x00callK\x01s\x86b."  # BUILD with slots: setattr(name, 'call', 1)
    (tmp_path / "x").write_bytes(b"c_codecs\nencode\n" + state.replace(b"(N", b"N"))
    refused(tmp_path / "x")
    write_raw(tiny_raw(), tmp_path)
    assert equal(read_raw(tmp_path).train, tiny_split())


@given(data=st.data())
def test_damage_gives_one_sentence(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    path = write_py2(content(tiny_split()), tmp_path_factory.mktemp("raw") / "train")
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut])
    refused(path)
    path.write_bytes(whole[:cut] + data.draw(st.binary(min_size=1, max_size=3)) + whole[cut + 1 :])
    with contextlib.suppress(UserError):  # nothing else may come out
        read_split(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"data", np.zeros((4, 12), np.int64), "uint8"),
        (b"data", np.zeros((4, 12), np.float32), "uint8"),
        (b"data", np.zeros((4, 3, 2, 2), np.uint8), "two dimensions"),
        (b"data", np.zeros((4, 13), np.uint8), "square"),
        (b"data", np.zeros((4, 24), np.uint8), "square"),
        (b"data", np.zeros((5, 12), np.uint8), "agree"),
        (b"data", [1, 2], "two dimensions"),
        (b"fine_labels", [0, 1, 2], "agree"),
        (b"fine_labels", [0, 1, 2, -1], "-1"),
        (b"coarse_labels", [0, 1, 2, b"1"], "coarse_labels"),
        (b"coarse_labels", 3, "list"),
        (b"filenames", [b"a", b"b"], "agree"),
        (b"filenames", [], "list"),
    ],
)
def test_contents_that_do_not_fit(tmp_path: Path, key: bytes, value: object, words: str) -> None:
    path = write_py2(content(tiny_split()) | {key: value}, tmp_path / "train")
    refused(path, words)


def test_missing_key(tmp_path: Path) -> None:
    made = content(tiny_split())
    del made[b"coarse_labels"]
    refused(write_py2(made, tmp_path / "train"), "coarse_labels")


def test_declared_size_must_be_there(tmp_path: Path) -> None:
    text = write_py2(content(tiny_split()), tmp_path / "train").read_bytes()
    huge = text.replace(py2(4) + py2(12), py2(2**31 - 1) + py2(2**31 - 1))
    assert huge != text
    (tmp_path / "train").write_bytes(huge)
    refused(tmp_path / "train", "declares")


@pytest.mark.parametrize(
    "name",
    ["../x.png", "..", ".", "", "/etc/x.png", "a/b.png", "a\\b.png", "C:x.png", "a\0b.png", "a\nb",
     ".hidden.png", "x" * 300],
)  # fmt: skip
def test_file_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    split = tiny_split()
    split.names[2] = name
    refused(write_py2(content(split), tmp_path / "train"), "plain file name")


def test_file_name_that_is_no_text(tmp_path: Path) -> None:
    made = content(tiny_split()) | {b"filenames": [b"a", b"b", b"c", b"\xff.png"]}
    refused(write_py2(made, tmp_path / "train"), "plain file name")


def test_label_without_a_name(tmp_path: Path) -> None:
    raw = tiny_raw()
    raw.coarse_names = ["low"]
    write_raw(raw, tmp_path)
    with pytest.raises(UserError, match="coarse label 1 has no name"):
        read_raw(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_raw(tmp_path / "nowhere")
    write_raw(tiny_raw(), tmp_path)
    (tmp_path / "test").unlink()
    with pytest.raises(UserError, match="test is missing"):
        read_raw(tmp_path)


def memoised(levels: int = 18) -> list:
    """A list of lists that doubles with each level, but not in a pickle, which holds each once."""
    nested: list = [b"x"]
    for _ in range(levels):
        nested = [nested, nested]
    return nested


@pytest.mark.parametrize("file", ["meta", "train"])
def test_only_texts_and_numbers_are_taken_for_names_and_labels(tmp_path: Path, file: str) -> None:
    write_raw(tiny_raw(), tmp_path)
    whole = content(tiny_split())
    if file == "meta":
        whole = {b"fine_label_names": [b"a", b"b", b"c"], b"coarse_label_names": [b"a", b"b"]}
    for key in set(whole) - {b"data", b"batch_label"}:
        for wrong in (memoised(), None, 2**90_000, 1.5, [b"a"]):
            made = whole | {key: [wrong, *list(whole[key])[1:]]}
            (tmp_path / file).write_bytes(pickle.dumps(made, protocol=2))
            tracemalloc.start()
            with pytest.raises(UserError, match=key.decode()) as caught:
                read_raw(tmp_path)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert str(tmp_path / file) in str(caught.value)
            assert peak < 2**20
    (tmp_path / file).write_bytes(pickle.dumps(whole | {7: 1}, protocol=2))
    with pytest.raises(UserError, match="a key is 7"):
        read_raw(tmp_path)


def test_an_array_of_a_nested_type_or_endless_shape(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"cnumpy\ndtype\n(" + pickle.dumps(memoised(), 2)[2:-1] + b"tR.")
    refused(tmp_path / "x", "the type of an array")
    text = write_py2(content(tiny_split()), tmp_path / "train").read_bytes()
    huge = pickle.dumps(2**90_000, 2)[2:-1]
    (tmp_path / "train").write_bytes(text.replace(py2(4) + py2(12), huge + py2(12)))
    refused(tmp_path / "train", "declares a number of 90001 bits")


def test_links_do_not_lead_a_writer_outside(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "victim").write_text("mine")
    for name in ("train", "test", "meta"):
        (tmp_path / "raw" / f".{name}.partial").symlink_to(tmp_path / "victim")
        (tmp_path / "raw" / name).symlink_to(tmp_path / "victim")
    write_raw(tiny_raw(), tmp_path / "raw")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not any((tmp_path / "raw" / name).is_symlink() for name in ("train", "test", "meta"))
    assert equal(read_raw(tmp_path / "raw").train, tiny_split())


# ---------------------------------------------------------------- unique names


def test_names_that_occur_twice_get_their_fine_label() -> None:
    names = ["baby.png", "tree.png", "baby.png", "Cup.PNG", "cup.png", "photo"]
    assert unique_names(names, [2, 7, 35, 1, 2, 0]) == [
        "baby_fine2.png", "tree.png", "baby_fine35.png", "Cup_fine1.png", "cup_fine2.png",
        "photo.png",
    ]  # fmt: skip


def test_names_that_stay_ambiguous_get_a_counter() -> None:
    names = ["a.png", "a.png", "A.png", "a_fine2.png", "a_fine2_1.png"]
    made = unique_names(names, [2, 2, 3, 5, 6])
    assert made[2] == "A_fine3.png"
    assert made[4] == "a_fine2_1.png"
    assert len({name.lower() for name in made}) == len(made)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "A", "a.png", "a_fine0", "a_fine0_1", "é", "e\u0301", "ß"]),
                  st.integers(0, 2)),
        max_size=12,
    )
)  # fmt: skip
def test_unique_names_are_unique(rows: list[tuple[str, int]]) -> None:
    made = unique_names([name for name, _ in rows], [label for _, label in rows])
    assert len({name.casefold() for name in made}) == len(rows)
    assert all(name.endswith(".png") for name in made)
