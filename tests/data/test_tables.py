"""Parquet and Arrow files of images, as Hugging Face's `datasets` writes them."""

import importlib.util
import json
import os
import random
import sys

import pytest
from imagery import PICTURE, encoded, noise, prepare, reasons

from keras_dcgan.data import decode, sources, tables
from keras_dcgan.data.formats.kinds import PACKED
from keras_dcgan.errors import Refused, Unavailable

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None and "TEST_EVERYTHING" not in os.environ,
    reason="pyarrow is not installed",
)
NOISE = encoded(noise(), "PNG")
CLASSES = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "image": {"_type": "Image"}}


def table_of(images: list, features: dict | None = CLASSES, **columns):
    """A pyarrow.Table as `datasets` has it: images of bytes, or of what a row holds."""
    import pyarrow

    rows = [
        image if isinstance(image, dict | None) else {"bytes": image, "path": "x.png"} for image in images
    ]
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table({"image": pyarrow.array(rows, kind), **columns})
    about = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": about} if features else None)


def write(path, table, rows_a_group: int = 100):
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(
            table, path, row_group_size=rows_a_group, compression="none", use_dictionary=False
        )
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table, max_chunksize=rows_a_group)
    return path


@needs_pyarrow
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_a_folder_of_the_hub_gives_its_images_and_the_names_of_its_classes(tmp_path, extension):
    for number in range(2):
        labels = [1, 0, 1, 0, -1]
        table = table_of([PICTURE, NOISE] * 2 + [NOISE], label=labels)
        write(tmp_path / "data" / f"train-{number:05d}-of-00002.{extension}", table, rows_a_group=2)
    write(tmp_path / "data" / "cache-0123.arrow", table)  # what `Dataset.map` leaves there
    (tmp_path / "README.md").write_text("---")
    (tmp_path / "LICENSE").write_text("none")
    for source in (tmp_path, tmp_path / "data" / f"train-*.{extension}"):
        images = prepare(source, conditional=True)
        assert images.classes == ["cat", "dog"] and images.labels.tolist() == [1, 0] * 4
        places = [f"train-0000{number}-of-00002.{extension}#4" for number in range(2)]
        beside = ["LICENSE", "data/cache-0123.arrow"] if source == tmp_path else []
        assert reasons(images.manifest) == dict.fromkeys(places, "without a class") | dict.fromkeys(
            beside, sources.BESIDE
        )
        assert len(prepare(source)) == 10


@needs_pyarrow
@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
def test_feather_and_what_polars_writes_are_read(tmp_path, compression):
    import pyarrow
    from pyarrow import feather

    views = [pyarrow.array([PICTURE, NOISE] * 2, pyarrow.binary_view()), ["cat", "dog"] * 2]
    table = pyarrow.table([views[0], pyarrow.array(views[1], pyarrow.string_view())], ["image", "label"])
    for name, content in (("a.arrow", table_of([PICTURE, NOISE] * 2, label=[0, 1] * 2)), ("B.ARROW", table)):
        options = {"compression": compression, "chunksize": 3}
        feather.write_feather(content, str(tmp_path / name), **options)
        images = prepare(tmp_path / name, conditional=True)
        assert images.classes == ["cat", "dog"] and images.labels.tolist() == [0, 1, 0, 1]
        assert images.manifest.left_out == []


@needs_pyarrow
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(tmp_path):
    path_only = {"bytes": None, "path": "/etc/passwd"}
    table = table_of([PICTURE, None, PICTURE[:60], b"text" * 99, path_only, NOISE])
    manifest = prepare(write(tmp_path / "a.parquet", table)).manifest
    assert manifest.count == 2 and reasons(manifest) == {
        "a.parquet#1": tables.EMPTY,
        "a.parquet#2": decode.TRUNCATED,
        "a.parquet#3": decode.NOT_AN_IMAGE,
        "a.parquet#4": tables.PATH_ONLY,
    }


@needs_pyarrow
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
@pytest.mark.parametrize("most", [0, 20, tables.WAITING])
def test_rows_come_in_any_order(tmp_path, extension, most, monkeypatch):
    monkeypatch.setattr(tables, "WAITING", most)
    monkeypatch.setattr(tables, "BATCH", 3)
    content = [b"%d" % row for row in range(40)]
    paths = [tmp_path / f"{name}.{extension}" for name in "ab"]
    write(paths[0], table_of(content[:25]), rows_a_group=8)
    write(paths[1], table_of(content[25:]), rows_a_group=8)
    read = tables.Images([tables.scan(str(path)) for path in paths])
    for order in (range(40), range(39, -1, -1), random.Random(0).choices(range(40), k=200)):
        assert [read(row) for row in order] == [content[row] for row in order]
        assert read._held == sum(map(len, read._waiting.values()))


@needs_pyarrow
def test_each_row_of_a_table_is_read_once_however_many_threads_decode(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "WAITING", 32 * len(PICTURE))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    begun, begin = [], tables.Images._begin
    monkeypatch.setattr(
        tables.Images, "_begin", lambda self, group: begun.append(group) or begin(self, group)
    )
    path = write(tmp_path / "a.parquet", table_of([PICTURE] * 400), rows_a_group=400)
    assert len(prepare(path)) == 400
    assert len(begun) < 5, begun


@needs_pyarrow
def test_damage_costs_one_row_group(tmp_path):
    path = write(tmp_path / "a.parquet", table_of([b"%06d" % row * 50 for row in range(30)]), rows_a_group=10)
    content = path.read_bytes()
    at = content.index(b"000010" * 50)
    path.write_bytes(content[: at - 4] + b"\xff\xff\xff\x7f" + content[at:])  # how long the row is
    read, told = tables.Images([tables.scan(str(path))]), []
    for row in range(30):
        try:
            told.append(read(row)[:6])
        except tables.Rejected as error:
            told.append(str(error))
    assert told == [
        *(b"%06d" % row for row in range(10)),
        *["damaged"] * 10,
        *(b"%06d" % row for row in range(20, 30)),
    ]


@needs_pyarrow
def test_a_file_of_several_that_cannot_be_read_is_left_out(tmp_path):
    path = write(tmp_path / "a.parquet", table_of([PICTURE]))
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-20])
    (tmp_path / "lfs.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    (tmp_path / "nothing.parquet").write_bytes(b"")
    write(tmp_path / "text.parquet", table_of([PICTURE]).select([]).append_column("text", [["x"]]))
    assert reasons(prepare(tmp_path).manifest) == {
        "cut.parquet": "damaged",
        "lfs.parquet": "a Git LFS pointer: git lfs pull",
        "nothing.parquet": "zero bytes",
        "text.parquet": tables.NO_IMAGES,
    }


@needs_pyarrow
def test_a_table_among_images_is_none_of_them(tmp_path):
    write(tmp_path / "a.parquet", table_of([PICTURE]))
    (tmp_path / "b.png").write_bytes(PICTURE)
    manifest = prepare(tmp_path).manifest
    assert manifest.count == 1 and reasons(manifest) == {"a.parquet": PACKED}


@needs_pyarrow
def test_more_rows_than_bytes_are_not_believed(tmp_path):
    with pytest.raises(tables.Rejected, match="^damaged$"):
        tables.scan(str(write(tmp_path / "a.parquet", table_of([None] * 5000), rows_a_group=5000)))


@needs_pyarrow
def test_damaged_offsets_do_not_end_the_process(tmp_path):
    path = write(tmp_path / "a.arrow", table_of([b"x" * 64, b"y" * 64]))
    content = path.read_bytes()
    offsets = b"\0\0\0\0@\0\0\0\x80\0\0\0"
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, b"\0\0\0\0\xff\xff\xff\x7f\x80\0\0\0"))
    with pytest.raises(tables.Rejected, match="^damaged$"):
        tables.Images([tables.scan(str(path))])(0)


@needs_pyarrow
@pytest.mark.parametrize(
    "columns, features, found",
    [
        ({"label": [3]}, None, ("image", ["3"])),
        ({"label": ["cat"]}, CLASSES, ("image", ["cat"])),
        ({"label": [7]}, CLASSES, ("image", [""])),  # a class without a name
        ({"gender": [1]}, {"gender": {"_type": "ClassLabel", "names": ["f", "m"]}}, ("image", ["m"])),
        ({"age": [30], "text": ["x"]}, None, ("image", None)),
        ({"mask": [b"x"]}, None, ("image", None)),
        (
            {"label": [3], "kind": [0]},
            {"kind": {"_type": "ClassLabel", "names": ["pug"]}},
            ("image", ["pug"]),
        ),
        ({"label": [[1, 2]]}, {"label": 3}, ("image", None)),
    ],
)
def test_columns_are_found_by_name_and_type(tmp_path, columns, features, found):
    part = tables.scan(str(write(tmp_path / "a.parquet", table_of([PICTURE], features, **columns))))
    assert (part.image, part.labels) == found


@needs_pyarrow
def test_several_columns_of_classes_are_none(tmp_path):
    classes = {"_type": "ClassLabel", "names": ["a", "b"]}
    table = table_of([PICTURE], {"fine": classes, "coarse": classes}, fine=[0], coarse=[1])
    write(tmp_path / "a.parquet", table)
    with pytest.raises(
        Refused, match="^conditional: expected a column label in .*, received image, fine, coarse$"
    ):
        prepare(tmp_path / "a.parquet", conditional=True)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Unavailable, match=r"^source: parquet .* need: pip install 'keras_dcgan\[parquet\]'$"):
        prepare(tmp_path / "a.parquet")
