from .checking.api import check as check
from .checking.report import Finding as Finding
from .checking.report import Report as Report
from .explanation.explainer import explain as explain
from .explanation.graph import Explanation as Explanation
from .rules import accumulate as accumulate
from .rules import backprop as backprop
