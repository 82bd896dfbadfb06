"""A .csv of paths and labels, and the metadata that Hugging Face keeps beside images."""

import json
import re

import pytest
from imagery import PICTURE, encoded, folder_of, noise, prepare, reasons, two_halves

from keras_dcgan.data import decode, lists, sources
from keras_dcgan.errors import Refused

PETS = [("a.png", "cat"), ("b.png", "dog"), ("c.png", "cat"), ("d.png", "dog")]


@pytest.fixture
def pets(tmp_path):
    return folder_of(tmp_path / "pets", **{name[0]: two_halves() for name, _ in PETS}, stray=noise())


@pytest.mark.parametrize(
    "header, separator, encoding",
    [
        ("file,label", ",", "utf-8"),
        ("File Name,Class", ",", "utf-8-sig"),
        ("image_path;category", ";", "utf-8"),
        ("path\tlabels", "\t", "utf-16"),
    ],
)
def test_a_csv_names_the_images_and_their_classes(pets, header, separator, encoding):
    rows = [header, *(f"{name}{separator}{label}" for name, label in PETS)]
    (pets / "pets.csv").write_text("\r\n".join(rows), encoding=encoding)
    images = prepare(pets / "pets.csv", conditional=True)
    assert images.classes == ["cat", "dog"] and images.labels.tolist() == [0, 1, 0, 1]
    assert images.manifest.kind == "csv" and images.manifest.left_out == []
    assert prepare(pets / "pets.csv").classes == []


def test_a_csv_counts_from_its_own_folder_and_may_name_any_other(pets, tmp_path):
    absolute = folder_of(tmp_path / "more", x=noise()) / "x.png"
    (pets / "all.csv").write_text(f'image\n./a.png\n../more/x.png\n"{absolute}"\n..\\pets\\b.png\n')
    assert len(prepare(pets / "all.csv")) == 4


def test_each_row_that_cannot_be_used_is_left_out_with_its_reason(pets, tmp_path):
    (pets / "empty.png").write_bytes(b"")
    (pets / "cut.png").write_bytes(PICTURE[:60])
    (pets / "notes.txt").write_text("x" * 99)
    rows = [
        "a.png,cat",
        "gone.png,cat",
        "b.png,",
        "empty.png,cat",
        "cut.png,dog",
        ",dog",
        "notes.txt,dog",
        "c.png,dog",
    ]
    rows += ["https://example.org/a.png,dog", "../pets,dog", "d.png,cat", "b.png,dog", "a\0.png,dog"]
    (pets / "pets.csv").write_text("file,label\n" + "\n".join(rows))
    manifest = prepare(pets / "pets.csv", conditional=True).manifest
    absent = dict.fromkeys(("gone.png", "https://example.org/a.png", "a\0.png"), "does not exist")
    assert manifest.count == 4 and reasons(manifest) == {
        **absent,
        "b.png": "without a class",
        "empty.png": "zero bytes",
        "cut.png": decode.TRUNCATED,
        "row 6": sources.NO_NAME,
        "notes.txt": decode.NOT_AN_IMAGE,
        "../pets": "not a regular file",
    }


def test_a_file_that_was_missing_is_taken_once_it_is_there(pets):
    (pets / "pets.csv").write_text("file\na.png\nlate.png")
    assert len(prepare(pets / "pets.csv")) == 1
    (pets / "late.png").write_bytes(PICTURE)
    assert len(prepare(pets / "pets.csv")) == 2


@pytest.mark.parametrize(
    "content, conditional, message",
    [
        (
            b"a.png,cat\nb.png,dog\n",
            False,
            r"source: expected a header with a column such as file, path or image in .*a.csv, "
            "received the columns a.png, cat",
        ),
        (b"", False, r"source: expected a header .* received the columns \(none\)"),
        (b"file,label\n", False, r"source: no images in .*a.csv"),
        (b"file\nx.png\n", False, "source: none of the 1 file in .*a.csv can be used: 1 does not exist"),
        (
            b"file\nM\xfcnchen.png\n",
            False,
            "source: expected a table in UTF-8, received .*a.csv: 'utf-8' codec",
        ),
        (
            b'file\n"' + b"x" * 200_000 + b'"',
            False,
            "source: expected a table in UTF-8, received .*a.csv: field larger",
        ),
        (
            b"file,size\na.png,3\n",
            True,
            "conditional: expected a column label in .*a.csv, received file, size",
        ),
        (
            b"file,label\na.png,cat\nb.png,cat\n",
            True,
            "conditional: expected two or more folders .* received only cat",
        ),
        (
            b"file,label\na.png,1\nb.png,2\na.png,3\nb.png,4\na.png,5\nb.png,6\na.png,7",
            True,
            "conditional: expected two or more images in each class, received 1: 1, 2: 1, 3: 1, 4: 1, 5: 1 and 2 more$",
        ),
    ],
)
def test_a_mistake_is_told(pets, content, conditional, message):
    (pets / "a.csv").write_bytes(content)
    with pytest.raises(Refused, match=f"^{message}"):
        prepare(pets / "a.csv", conditional=conditional)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_beside_the_images_gives_the_classes(pets, name):
    def write(rows):
        if name.endswith("csv"):
            lines = ["file_name,text,label", *(f"{file},a pet,{label}" for file, label in rows)]
        else:
            lines = [json.dumps({"file_name": file, "text": "a pet", "label": label}) for file, label in rows]
        (pets / name).write_text("\n".join(lines))

    write(PETS)
    for root in (pets, pets.parent):  # of splits each has its own
        images = prepare(root, conditional=True)
        assert images.classes == ["cat", "dog"] and images.labels.tolist() == [0, 1, 0, 1]
        assert re.fullmatch("(pets/)?stray.png", *reasons(images.manifest))
    assert len(prepare(pets)) == 5
    write([(file, {"cat": "dog", "dog": "cat"}[label]) for file, label in PETS])
    assert prepare(pets, conditional=True).labels.tolist() == [1, 0, 1, 0]


def test_metadata_without_labels_leaves_the_folders_as_they_are(tmp_path):
    picture = encoded(two_halves(), "PNG")
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png", "dogs/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    (tmp_path / "metadata.csv").write_text("file_name,text\ncats/1.png,a cat\n")
    (tmp_path / "cats" / "metadata.jsonl").write_text('{"id": 3, "label": 1}\n')
    assert prepare(tmp_path, conditional=True).classes == ["cats", "dogs"]
    (tmp_path / "metadata.jsonl").write_text("[1]\n")
    with pytest.raises(
        Refused, match="^source: expected a table in UTF-8, received .*metadata.jsonl: a line is no object"
    ):
        prepare(tmp_path, conditional=True)


def test_a_label_is_text_or_a_whole_number():
    labels = {" cat ": "cat", 3: "3", 0: "0", 2.0: "2"}
    assert [lists.as_label(value) for value in labels] == [*labels.values()]
    assert [lists.as_label(value) for value in (True, False)] == ["true", "false"]
    none = (-1, -1.0, None, ["cat"], 0.5, float("nan"), float("inf"), "")
    assert [lists.as_label(value) for value in none] == [""] * len(none)


def test_labels_that_pandas_wrote_beside_a_missing_one_are_those_of_the_metadata(pets):
    rows = [{"file_name": name, "label": float(label == "dog")} for name, label in PETS]
    rows.append({"file_name": "stray.png", "label": None})
    (pets / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    images = prepare(pets, conditional=True)
    assert images.classes == ["0", "1"] and images.labels.tolist() == [0, 1, 0, 1]
