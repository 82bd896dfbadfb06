"""Tar archives: WebDataset's shards, folders in an archive, and what may be wrong with one."""

import io
import pathlib
import tarfile

import pytest
from imagery import PICTURE, encoded, folder_of, noise, prepare, reasons, two_halves

from keras_dcgan.addresses import expanded
from keras_dcgan.data import decode, sources, tars
from keras_dcgan.data import prepare as preparing
from keras_dcgan.data.formats.kinds import PACKED
from keras_dcgan.errors import Refused, Unavailable

NOISE = encoded(noise(), "PNG")


def tar_of(path: pathlib.Path, *members: tuple[str, bytes]) -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def shards(root: pathlib.Path, count: int = 3):
    """imgs-000.tar ... as WebDataset writes them: in each a cat and a dog, three images of the two."""
    for shard in range(count):
        tar_of(
            root / f"imgs-{shard:03d}.tar",
            ("0001.cls", b"cat\n"),
            ("0001.left.png", PICTURE),
            ("0001.right.png", NOISE),
            ("0001.txt", b"a cat on a mat"),
            ("0002.json", b"{}"),
            ("0002.png", PICTURE),
            ("0002.cls.txt", b"dog"),
        )


@pytest.mark.parametrize("pattern", ["imgs-{000..002}.tar", "imgs-*.tar", "."])
def test_shards_of_webdataset_give_their_images_and_classes(tmp_path, pattern):
    shards(tmp_path)
    images = prepare(tmp_path / pattern, conditional=True)
    assert images.classes == ["cat", "dog"] and images.labels.tolist() == [0, 0, 1] * 3
    assert images.manifest.left_out == [] and images.manifest.kind == "tar"
    first = images.manifest.duplicates[0]
    assert first == {"file": "imgs-000.tar/0002.png", "same_as": "imgs-000.tar/0001.left.png"}
    assert prepare(tmp_path / pattern).classes == []


def test_a_range_takes_no_more_than_it_names_and_no_less(tmp_path):
    shards(tmp_path)
    assert len(prepare(tmp_path / "imgs-{001..002}.tar")) == 6
    with pytest.raises(
        Unavailable, match=r"^source: expected files called .*\.\.003}.tar, received no .*imgs-003.tar$"
    ):
        prepare(tmp_path / "imgs-{000..003}.tar")
    assert len(prepare(tmp_path / "imgs-{002..001}.tar")) == len(prepare(tmp_path / "imgs-00{2..1}.tar")) == 6
    tar_of(tmp_path / "a{1..2}.tar", ("a.png", PICTURE))  # a file may be called so
    assert len(prepare(tmp_path / "a{1..2}.tar")) == 1


def test_a_tar_of_a_folder_gives_what_the_folder_gives(tmp_path):
    folder = folder_of(
        tmp_path / "in", cats__a=two_halves(), cats__b=noise(), dogs__c=noise(), dogs__d=two_halves()
    )
    (folder / ".hidden.png").write_bytes(PICTURE)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, "pets")
    for options in ({}, {"conditional": True}):
        inside, packed = prepare(folder, **options), prepare(tmp_path / "a.tar", **options)
        assert packed.manifest.fingerprint == inside.manifest.fingerprint and packed.classes == inside.classes


@pytest.mark.parametrize(
    "typed, names",
    [
        ("{9..11}", "9 10 11"),
        ("{11..9}", "9 10 11"),
        ("{000..002}", "000 001 002"),
        ("{98..100}", "98 99 100"),
        ("{098..100}", "098 099 100"),
        ("{99..0100}", "0099 0100"),
        ("{1..0}-{0..1}", "0-0 0-1 1-0 1-1"),
    ],
)
def test_ranges_are_those_of_bash(typed, names):
    assert [*expanded(f"a-{typed}.tar")] == [f"a-{name}.tar" for name in names.split()]


def test_an_archive_of_one_class_among_others_keeps_its_class(tmp_path):
    for root in ("", "pets/"):  # the folder that was packed, or none
        tar_of(tmp_path / "a-0.tar", (f"{root}cats/0.png", PICTURE), (f"{root}cats/1.png", PICTURE))
        tar_of(tmp_path / "a-1.tar", (f"{root}cats/2.png", PICTURE), (f"{root}dogs/0.png", NOISE))
        tar_of(tmp_path / "a-2.tar", (f"{root}dogs/1.png", NOISE), (f"{root}dogs/2.png", NOISE))
        images = prepare(tmp_path / "a-{0..2}.tar", conditional=True)
        assert images.classes == ["cats", "dogs"] and images.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert images.manifest.left_out == []


def test_an_archive_among_images_without_an_extension_is_none_of_them(tmp_path):
    for name, content in (("a", PICTURE), ("b", NOISE)):
        (tmp_path / name).write_bytes(content)
    for name in ("old/backup.tar", "labels.parquet"):
        tar_of(tmp_path / name, ("z.png", PICTURE))
        manifest = prepare(tmp_path).manifest
        assert manifest.count == 2 and reasons(manifest) == {name: PACKED}
        (tmp_path / name).unlink()


def test_what_lies_beside_archives_is_told_and_what_is_new_there_is_seen(tmp_path):
    tar_of(tmp_path / "a.tar", ("a.png", PICTURE))
    for names in ([], ["LICENSE"]):
        for name in names:
            (tmp_path / name).write_text("none")
        assert reasons(prepare(tmp_path).manifest) == dict.fromkeys(names, sources.BESIDE)


def test_no_name_in_a_tar_can_escape_and_no_link_is_followed(tmp_path):
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    tar_of(
        path,
        ("../../evil.png", PICTURE),
        ("/root.png", NOISE),
        ("b.png", b""),
        ("c.png", b"?"),
        ("c.png", NOISE),
    )
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("hard.png", tarfile.LNKTYPE),
            ("soft.png", tarfile.SYMTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "root.png"
            archive.addfile(member)
    manifest = prepare(path).manifest
    assert manifest.count == 3
    assert reasons(manifest) == {
        "b.png": "zero bytes",
        "c.png": tars.REPLACED,
        **dict.fromkeys(("hard.png", "soft.png", "pipe.png"), "not a regular file"),
    }
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.tar", "in"]


def header(number: int) -> int:
    """Where the header of the member lies, in an archive of members that take a block each."""
    return 2 * tarfile.BLOCKSIZE * number


def damaged(content: bytes, at: int, field: bytes) -> bytes:
    return content[:at] + field + content[at + len(field) :]


def test_what_lies_before_the_damage_is_used_and_the_damage_told(tmp_path):
    small = encoded(two_halves(size=(8, 8)), "PNG")
    assert len(small) < tarfile.BLOCKSIZE
    content = tar_of(tmp_path / "a.tar", *((f"{name}.png", small) for name in "abc")).read_bytes()
    cases = {
        "in an image": (content[: header(2) + 512 + 20], 2, {"c.png": decode.TRUNCATED, "a.tar": tars.CUT}),
        "in a header": (content[: header(2) + 20], 2, {"a.tar": tars.CUT}),
        "between two": (content[: header(2)], 2, {"a.tar": tars.CUT}),
        "a checksum": (damaged(content, header(1) + 148, b"999999"), 1, {"a.tar": tars.DAMAGED}),
        "no tar": (b"<html>" * 999, 0, {"a.tar": tars.NOT_A_TAR}),
        "zero bytes": (b"", 0, {"a.tar": tars.NOT_A_TAR}),
        "git lfs": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            0,
            {"a.tar": sources.POINTER},
        ),
    }
    tar_of(tmp_path / "b.tar", ("z.png", small))
    for name, (cut, count, told) in cases.items():
        (tmp_path / "a.tar").write_bytes(cut)
        manifest = prepare(tmp_path / "[ab].tar").manifest
        assert manifest.count == count + 1, name
        assert reasons(manifest) == {
            f"a.tar/{file}".removesuffix("/a.tar"): why for file, why in told.items()
        }, name


def test_a_size_below_zero_ends_the_archive(tmp_path):
    content = tar_of(tmp_path / "a.tar", ("a.png", PICTURE[:400]), ("b.png", b"b")).read_bytes()
    member = tarfile.TarInfo("b.png")
    member.size = -3 * tarfile.BLOCKSIZE
    found = member.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(damaged(content, header(1), found))
    scanned = tars.scan(str(tmp_path / "a.tar"))
    assert [member.name for member in scanned.members] == ["a.png"] and scanned.problem == tars.CUT


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "a.tar.gz",
            "source: expected a folder, .* received .*a.tar.gz, which is compressed: unpack it first",
        ),
        ("a.tgz", "source: expected a folder, .* received .*a.tgz, which is compressed: unpack it first"),
        ("empty.tar", "source: no images in .*empty.tar"),
        ("html.tar", "source: none of the 1 file in .*html.tar can be used: 1 not a tar archive"),
        ("no-*.tar", r"source: expected files called .*no-\*.tar, received no .*no-\*.tar"),
    ],
)
def test_a_mistake_is_told(tmp_path, name, message):
    tar_of(tmp_path / "empty.tar")
    for file in ("a.tar.gz", "a.tgz", "html.tar"):
        (tmp_path / file).write_text("<html>")
    with pytest.raises((Refused, Unavailable), match=f"^{message}"):
        prepare(tmp_path / name)


def test_what_has_no_class_is_left_out_and_without_any_it_is_a_mistake(tmp_path):
    members = [(f"{i}.png", PICTURE) for i in range(5)] + [(f"{i}.cls", b"%d" % (i % 2)) for i in range(4)]
    images = prepare(tar_of(tmp_path / "a.tar", *members), conditional=True)
    assert images.classes == ["0", "1"] and images.labels.tolist() == [0, 1, 0, 1]
    assert reasons(images.manifest) == {"4.png": "without a class"}
    with pytest.raises(Refused, match="^conditional: expected two or more folders .* received none"):
        prepare(tar_of(tmp_path / "b.tar", *members[:5]), conditional=True)


def test_an_archive_that_grows_while_it_is_listed_is_listed_anew(tmp_path, monkeypatch):
    path, scan = tmp_path / "a.tar", tars.scan
    tar_of(path, ("a.png", NOISE))

    def grown(*arguments):
        found = scan(*arguments)
        tar_of(path, ("a.png", NOISE), ("b.png", NOISE))
        return found

    cache = str(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(tars, "scan", grown)
        assert prepare(path, cache=cache).manifest.count == 1
    assert prepare(path, cache=cache).manifest.count == 2


def test_the_cache_serves_until_a_shard_changes(tmp_path, monkeypatch):
    shards(tmp_path)
    before = prepare(tmp_path / "*.tar").manifest
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "decode", None)
        assert prepare(tmp_path / "*.tar").manifest == before
    tar_of(tmp_path / "imgs-001.tar", ("a.png", NOISE))
    assert prepare(tmp_path / "*.tar").manifest.count == 7
