"""What operations do to the machine, beside computing with numbers.

One table for all who ask: sessions refuse what is in it, or judge it by the paths that it touches
(`policy`), and the scan of a model tells of it (`saved_model.scan`).

Source: the operations that TensorFlow registers, and their kernels, which say what each touches.
"""

from __future__ import annotations

from dataclasses import dataclass

_READS = "reads files"
_WRITES = "writes files"
_RUNS = "runs code that the model does not hold"
_TALKS = "talks to other processes or machines"
_ENDS = "ends the process"

#: What operations do, by their type: of those that TensorFlow 2.21 registers, and of a few that
#: only other builds have.
EFFECTS: dict[str, str] = {
    **dict.fromkeys(
        (
            "CSVDataset",
            "CSVDatasetV2",
            "DTensorRestoreV2",
            # An attribute may name a file with the types of messages.
            "DecodeProtoV2",
            "EncodeProto",
            "ExperimentalCSVDataset",
            "ExperimentalLMDBDataset",
            "ExperimentalMatchingFilesDataset",
            "ExperimentalSqlDataset",
            "FixedLengthRecordDataset",
            "FixedLengthRecordDatasetV2",
            "FixedLengthRecordReader",
            "FixedLengthRecordReaderV2",
            "FixedUnigramCandidateSampler",
            "GenerateVocabRemapping",
            "ImmutableConst",
            "InitializeTRTResource",
            "InitializeTableFromTextFile",
            "InitializeTableFromTextFileV2",
            "LMDBDataset",
            "LMDBReader",
            "ListSnapshotChunksDataset",
            "LoadAndRemapMatrix",
            "LoadDataset",
            "MatchingFiles",
            "MatchingFilesDataset",
            "ReadFile",
            "RecordInput",
            "Restore",
            "RestoreSlice",
            "RestoreV2",
            "Skipgram",
            "SnapshotChunkDataset",
            "SnapshotDatasetReader",
            "SnapshotNestedDatasetReader",
            "SqlDataset",
            "TFRecordDataset",
            "TFRecordDatasetV2",
            "TFRecordReader",
            "TFRecordReaderV2",
            "TextLineDataset",
            "TextLineReader",
            "TextLineReaderV2",
            "WholeFileReader",
            "WholeFileReaderV2",
        ),
        _READS,
    ),
    **dict.fromkeys(
        (
            "CacheDataset",
            "CacheDatasetV2",
            "CalibrationStatisticsSaver",
            "CreateSummaryDbWriter",
            "CreateSummaryFileWriter",
            "DatasetToTFRecord",
            "DumpTensor",
            "ExperimentalDatasetToTFRecord",
            "MergeV2Checkpoints",
            "PrintV2",
            "Save",
            "SaveDataset",
            "SaveDatasetV2",
            "SaveSlices",
            "SaveV2",
            "SerializeTRTResource",
            "SnapshotDataset",
            "SnapshotDatasetV2",
            "WriteFile",
        ),
        _WRITES,
    ),
    **dict.fromkeys(
        (
            "DatasetFromGraph",  # a graph within a string
            "EagerPyFunc",
            "PyFunc",
            "PyFuncStateless",
            "RemoteFusedGraphExecute",
            "TRTEngineOp",
            # They call whatever function of the process the graph names.
            "XlaCustomCall",
            "XlaCustomCallV2",
        ),
        _RUNS,
    ),
    **dict.fromkeys(
        (
            "DataServiceDataset",
            "DataServiceDatasetV2",
            "DataServiceDatasetV3",
            "DataServiceDatasetV4",
            "DebugIdentity",
            "DebugIdentityV2",
            "DebugIdentityV3",
            "DebugNanCount",
            "DebugNumericSummary",
            "DistributedSave",
            "RegisterDataset",
            "RegisterDatasetV2",
            "RemoteCall",
            "RpcCall",
            "RpcClient",
            "RpcServer",
        ),
        _TALKS,
    ),
    "Abort": _ENDS,
}


@dataclass(frozen=True, slots=True)
class PathInput:
    """An input of an operation that holds paths of files."""

    index: int
    writes: bool


_READ_FROM = (PathInput(0, writes=False),)
_WRITTEN_TO = (PathInput(0, writes=True),)
_VOCABULARY = (PathInput(1, writes=False),)

#: Those that are part of ordinary graphs: checkpoints and vocabularies. They are judged by the
#: paths that they touch.
PATH_INPUTS: dict[str, tuple[PathInput, ...]] = {
    "InitializeTableFromTextFile": _VOCABULARY,
    "InitializeTableFromTextFileV2": _VOCABULARY,
    # It may remove what it merges.
    "MergeV2Checkpoints": (PathInput(0, writes=True), PathInput(1, writes=True)),
    "Restore": _READ_FROM,
    "RestoreSlice": _READ_FROM,
    "RestoreV2": _READ_FROM,
    "Save": _WRITTEN_TO,
    "SaveSlices": _WRITTEN_TO,
    "SaveV2": _WRITTEN_TO,
}

#: It writes to the terminal or the log, or to a file if its attribute `output_stream` names one.
PRINT = "PrintV2"
