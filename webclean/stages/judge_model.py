"""The judge `model:<name>`: a trained model's out-of-sample predictions take the image judge's place."""

from __future__ import annotations

from webclean import schema
from webclean.config import JudgeModelConfig
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import Context, Counts
from webclean.stages.rows import not_usable, refuse_in_sample


def refuse_model_in_sample(run: RunDir, model: str) -> None:
    """Refuse a model before any other judge of its round has worked.

    Raises:
        ConfigError: the model predicts images that it was trained on.
    """
    source = schema.model_predictions_path(model)
    columns = (schema.IMAGE_ID, schema.IN_SAMPLE)
    for part in tables.iter_parts(run, source, schema.MODEL_PREDICTIONS_TABLE, columns):
        refuse_in_sample(part)


def run(config: JudgeModelConfig, context: Context) -> Counts:
    """Write predictions/image-r<k> from models/<model>/predictions, part by part; inside/image-r<k> stays empty.

    Raises:
        ConfigError: the model predicts images that it was trained on.
    """
    source = schema.model_predictions_path(config.model)
    target = schema.predictions_path(schema.JUDGE_IMAGE, config.round)
    total = tables.num_rows(context.run, schema.IMAGES)
    judged = 0
    names = schema.PREDICTIONS_TABLE.column_names
    with context.progress(total=total, unit="images", label="model's judgement") as bar:
        parts = tables.iter_parts(context.run, source, schema.MODEL_PREDICTIONS_TABLE, names)
        for index, part in enumerate(parts):
            refuse_in_sample(part)
            data = {name: part.column(name) for name in names}
            tables.write_part(context.run, target, index, data, schema.PREDICTIONS_TABLE)
            judged += part.num_rows
            bar.advance(part.num_rows)
    # Training keeps no word of the images inside of its folds; an older judge's must not stand for it.
    none = tables.arrow_schema(schema.PREDICTIONS_TABLE).empty_table()
    inside = schema.inside_path(schema.JUDGE_IMAGE, config.round)
    tables.write_part(context.run, inside, 0, none, schema.PREDICTIONS_TABLE)
    context.result["judge"] = f"model:{config.model}"
    return Counts(total, judged, not_usable(context.run))
