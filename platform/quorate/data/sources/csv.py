"""Read tables from CSV files."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from quorate.data.file_settings import FileSettings
from quorate.data.source import OpenedData
from quorate.data.table_files import TableParams, open_table
from quorate.data.table_readers import CsvFormat
from quorate.registry import DATASETS


class CsvParams(TableParams):
    kind: Literal["csv"] = "csv"
    separator: str = Field(",", min_length=1, max_length=1)
    """The character between two values; `"\\t"` in double quotes is a tab."""

    def file_settings(self) -> FileSettings:
        return replace(super().file_settings(), separator=self.separator)


@DATASETS.register("csv")
class Csv:
    """Rows of typed columns from CSV files in UTF-8 with a header, gzipped or not."""

    Params = CsvParams

    @staticmethod
    def open(params: CsvParams) -> OpenedData:
        return open_table(params, CsvFormat(params.separator, params.missing))
