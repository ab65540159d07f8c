"""Kinds of target column: what a label cell becomes.

A target is a frozen dataclass whose fields are its settings (`base.Target`). Fitted on the training
rows it is a `base.TargetProcessor`, which the run folder keeps as plain files.

- `category.py`: one of a set of names.
- `labels.py`: some of a set of names.
- `number.py`: one number or several, to be predicted.
- `vector.py`: numbers, such as a teacher's.
- `spans.py`: named parts of a text.
- `segments.py`: what happens when, in seconds.
- `events.py`: what a text says has happened, and who took part.
- `answers.py`: what one annotator or several answered.
- `answer_spans.py`: where in a text the answer stands.
- `boxes.py`: what is where in a picture.
- `relevance.py`: how right a candidate is, among those of its question.
- `text.py`: a text to be written.
- `same.py`: which rows are of one thing, such as the captions of a picture.

To add one: a file with the two classes, and a line in `data.config.targets`.
"""
