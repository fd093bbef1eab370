"""Labelled text files → seeded train, validation and test splits whose texts stay on disk.

What's where: `text_file` bytes → lines, `table` lines → cells, `scan` cells → integers, `stratify`
integers → which split, `split` targets and texts, `findings` warnings, `packaged` the data sets
inside, `dataset` all together.
"""

from tfpipe.data.dataset import Dataset as Dataset
from tfpipe.data.dataset import open_dataset as open_dataset
from tfpipe.data.labelled import read_labelled as read_labelled
from tfpipe.data.packaged import PACKAGED as PACKAGED
from tfpipe.data.packaged import Packaged as Packaged
from tfpipe.data.scan import clean_text as clean_text
from tfpipe.data.scan import digest_of as digest_of
from tfpipe.data.split import Split as Split
from tfpipe.data.stratify import sample_indices as sample_indices
from tfpipe.data.stratify import shuffled_indices as shuffled_indices
