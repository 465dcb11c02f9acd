"""Write the results tables of README.md and docs/gallery.md from docs/records; with --check, only compare."""

import sys
from pathlib import Path

from chainlab.lab.gallery import END, START, fill, read_records, stale

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "gallery.md")


def main() -> int:
    records = read_records(ROOT / "docs" / "records")
    wrong = [f"{name}: its config has changed since it was verified" for name in stale(records)]
    for page in PAGES:
        text = page.read_text()
        if START not in text or END not in text:
            wrong.append(f"{page.name}: no place for the results table")
        filled = fill(text, records)
        if "--check" not in sys.argv:
            page.write_text(filled)
        elif filled != text:
            wrong.append(f"{page.name}: its table is not what docs/records say; run `make gallery`")
    print("\n".join(wrong) or "every table is what its records say", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
