from saddlepoint.evaluation.run import Run


def write_report(run: Run) -> None:
    pass
