"""Random changes of training examples, as pure functions of the example and of uniform numbers.

A picture transform is `f(images, draws, **strengths) -> images`: float32 [b h w c] in [0, 1] before
normalisation, of the same shape after it, and float64 [b k] in [0, 1) drawn from each picture's own
generator. So a picture's result depends on neither its batch nor its host, and the arithmetic is
done for several small pictures at once, which is twice as fast as one by one.

- `geometric.py`: shift, flip, crop, rotate, affine.
- `colour.py`: jitter, grayscale, cutout, noise.
- `randaugment.py`: a few operations drawn from fourteen.
- `resize.py`: pictures of any size to squares of one size, whole or a random part.
- `mixing.py`: mixup and CutMix, of whole batches and their soft labels.
- `words.py`: dropping words.
- `sounds.py`: shift, gain, noise, and SpecAugment's masks.
- `damage.py`: what `mmjax.data.degraded` makes evaluation's inputs worse by.
- `augment.py`: names to functions, and chains of them from settings such as `{"shift": 3}`.

To add one: a function here and a line in `augment.FUNCTIONS`.
"""
