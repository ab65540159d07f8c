"""Kinds of input: what one row's cells become, and how rows become a batch.

A modality is a frozen dataclass whose fields are its settings (`base.Modality`). Fitted on the
training rows it is a `base.Processor`, which the run folder keeps as plain files.

- `text.py`: a text column to token ids.
- `dialogue.py`: the texts around an utterance to token ids.
- `image.py`: picture columns to normalised pixels.
- `audio.py`: a column of sounds to samples, log-mel bands or cepstra.
- `video.py`: a column of videos to the normalised pixels of a few frames.
- `sequence.py`: a column of feature vectors in time.
- `volume.py`: a column of volumes, such as CT, to voxels of one size.
- `points.py`: a column of sets of points, such as radar, to so many of them.
- `table.py`: columns of numbers and categories.

To add one: a file with the two classes, and a line in `data.config.modalities`.
"""
