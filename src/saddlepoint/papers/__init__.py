"""Tables of papers, made again: one file a table, with the published numbers as data beside what is made here."""

from saddlepoint.papers.reproduction import PAPERS as PAPERS
from saddlepoint.papers.reproduction import Reproduction as Reproduction
from saddlepoint.papers.reproduction import reproduce as reproduce
