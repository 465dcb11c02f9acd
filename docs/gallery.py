"""Write README.md's results, docs/gallery.md, docs/gallery/ and docs/benchmarks.md from docs/records.

With --check, only compare.
"""

import sys
from pathlib import Path

from chainlab.lab.gallery import END, START, benchmark_page, fill, page, read_benchmarks, read_records, stale, stem

ROOT = Path(__file__).parents[1]
TABLES = (ROOT / "README.md", ROOT / "docs" / "gallery.md")


def pages() -> dict[Path, str]:
    """Every page that is written from records, as it should be."""
    records = read_records(ROOT / "docs" / "records")
    wanted = {path: fill(path.read_text(), records) for path in TABLES}
    wanted[ROOT / "docs" / "benchmarks.md"] = benchmark_page(read_benchmarks(ROOT / "docs" / "records"))
    return wanted | {ROOT / "docs" / "gallery" / f"{stem(each['config'])}.md": page(each) for each in records}


def main() -> int:
    records = read_records(ROOT / "docs" / "records")
    wrong = [f"{name}: its config has changed since it was verified" for name in stale(records)]
    wrong += [
        f"{path.name}: no place for the results"
        for path in TABLES
        if not {START, END} <= set(path.read_text().splitlines())
    ]
    for path, wanted in pages().items():
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
        elif not path.exists() or path.read_text() != wanted:
            wrong.append(f"{path.name} is not what docs/records say; run `make gallery`")
    print("\n".join(wrong) or "every page is what its records say", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
