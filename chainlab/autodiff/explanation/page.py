"""The interactive page: one file without any request to the network."""

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from chainlab.autodiff.explanation.document import document
from chainlab.autodiff.explanation.layout import layout

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Explanation

_SCRIPTS = ("values", "placement", "drawing", "camera", "selection", "panel", "tools")  # in the order in which they run


def to_html(explanation: "Explanation", *, k: int = 5) -> str:
    """See `Explanation.to_html`."""
    import jinja2

    data: dict[str, Any] = document(explanation, k=k)
    data["levels"] = [
        {
            "name": level.scope[-1] if level.scope else explanation.title,
            "places": {name: list(place) for name, place in level.places.items()},
            "routes": {f"{a} {b}": bends for (a, b), bends in level.routes.items()},
        }
        for level in layout(explanation)
    ]
    assets = files(__package__ or "chainlab.autodiff.explanation") / "assets"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((assets / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=explanation.title,
        style=(assets / "page.css").read_text(encoding="utf-8"),
        script="\n".join((assets / "page" / f"{part}.js").read_text(encoding="utf-8") for part in _SCRIPTS),
        data=_embedded(data),
    )


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever names it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
