"""Write README.md's results, docs/gallery.md, docs/gallery/ and docs/benchmarks.md from docs/records.

README.md has the configs that take seconds, docs/gallery.md all. With --check, only compare.
"""

import sys
from pathlib import Path

from chainlab.lab.config import load
from chainlab.lab.gallery import END, START, benchmark_page, fill, page, read_benchmarks, read_records, stale, stem

ROOT = Path(__file__).parents[1]
README, GALLERY = ROOT / "README.md", ROOT / "docs" / "gallery.md"


def pages() -> dict[Path, str]:
    """Every page that is written from records, as it should be."""
    records = read_records(ROOT / "docs" / "records")
    quick = [record for record in records if "smoke" in load(record["config"]).envelope.tags]
    wanted = {README: fill(README.read_text(), quick), GALLERY: fill(GALLERY.read_text(), records)}
    wanted[ROOT / "docs" / "benchmarks.md"] = benchmark_page(read_benchmarks(ROOT / "docs" / "records"))
    return wanted | {ROOT / "docs" / "gallery" / f"{stem(each['config'])}.md": page(each) for each in records}


def main() -> int:
    records = read_records(ROOT / "docs" / "records")
    wrong = [f"{name}: its config has changed since it was verified" for name in stale(records)]
    wrong += [
        f"{path.name}: no place for the results"
        for path in (README, GALLERY)
        if not {START, END} <= set(path.read_text().splitlines())
    ]
    written = pages()
    extra = [path for path in (ROOT / "docs" / "gallery").glob("*.md") if path not in written]
    if "--check" in sys.argv:
        differing = [path for path, text in written.items() if not path.exists() or path.read_text() != text]
        wrong += [f"{path.name} is not what docs/records say; run `make gallery`" for path in differing + extra]
    else:
        for path in extra:
            path.unlink()
        for path, text in written.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    print("\n".join(wrong) or "every page is what its records say", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
