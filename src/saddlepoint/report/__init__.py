"""The report: one HTML file from a run's records."""

from saddlepoint.report.page import render as render
from saddlepoint.report.page import write_report as write_report
