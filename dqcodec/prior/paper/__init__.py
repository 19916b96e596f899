"""DQ-Transformer in the paper's layout: position and content token by token (Huang et al. 2023, section 3.3)."""

from dqcodec.prior.paper.config import PaperPriorConfig
from dqcodec.prior.paper.network import PaperDQTransformer
from dqcodec.prior.paper.sampling import sample

__all__ = ["PaperDQTransformer", "PaperPriorConfig", "sample"]
