"""Read tables from Parquet files."""

from __future__ import annotations

from typing import Literal

from quorate.data.source import OpenedData
from quorate.data.table_files import TableParams, open_table
from quorate.data.table_readers import ParquetFormat
from quorate.registry import DATASETS


class ParquetParams(TableParams):
    kind: Literal["parquet"] = "parquet"


@DATASETS.register("parquet")
class Parquet:
    """Rows of typed columns from Parquet files, or folders of them."""

    Params = ParquetParams

    @staticmethod
    def open(params: ParquetParams) -> OpenedData:
        return open_table(params, ParquetFormat(params.missing))
