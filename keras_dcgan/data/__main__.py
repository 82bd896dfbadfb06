"""Lists the prepared images in the cache: `python -m keras_dcgan.data`; --clear removes them."""

import time
from pathlib import Path

from keras_dcgan import cli, process
from keras_dcgan.data import cache


def main(arguments: list[str] | None = None):
    parser = cli.Parser("keras_dcgan.data", "Lists the prepared images in the cache.")
    parser.add_argument(
        "--cache", type=cli.path, metavar="DIR", help="[$KERAS_DCGAN_CACHE, else the user's cache folder]"
    )
    parser.add_argument("--clear", action="store_true", help="remove them all")
    args = parser.parse_args(arguments)
    with cli.user_errors(parser.verb):
        folder = cache.folder(args.cache)
        entries = cache.entries(folder)
        total = 0
        for entry in entries:
            length = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
            total += length
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stat().st_mtime))
            print(f"{date} {length / 1e6:>9,.1f} MB  {contents(entry)}")
            if args.clear:
                cache.discard(entry)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    print(f"{folder}: {count}, {total / 1e6:,.1f} MB{', removed' if args.clear and entries else ''}")


def contents(entry: Path) -> str:
    try:
        about = cache.description(entry)
    except FileNotFoundError:
        return "unfinished: being prepared now, or cut short"
    except ValueError:
        return "damaged"
    height, width = about["size"]
    source = about["source"] if about["source"].isprintable() else ascii(about["source"])
    return f"{about['images']:,} of {height}x{width}x{about['channels']} from {source}"


if __name__ == "__main__":
    raise SystemExit(process.run(main))
