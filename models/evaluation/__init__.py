"""Scoring of methods on labelled data: what is right, how sure one may be of that, and where the answer was withheld."""
