from .comparison import compare as compare
from .comparison import write_comparison as write_comparison
from .page import write as write
from .panels import load_panels as load_panels
from .panels import save_panels as save_panels
from .statistics import Summary as Summary
from .statistics import summarize as summarize
