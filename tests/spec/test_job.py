"""Every mistake in a job file is named with its line, its path, and what to do."""

from __future__ import annotations

import json
import re
import sys

import pytest
from pydantic import ValidationError

from quorate.cli import main
from quorate.report.run_report import job_in
from quorate.runs.folder import RunFolder
from quorate.spec import QuorumSpec, load_job, record_of, spec_of_run
from quorate.spec.file import SpecError

GOOD = "data: digits\nmembers:\n  svm: {kind: svm}\n"
NET = "data: digits\nmembers:\n  cnn:\n    kind: net\n    arch: mlp\n"


def mistakes(path, *overrides: str) -> list[tuple[int, str, str]]:
    """(line, path, message) of every problem."""
    with pytest.raises(SpecError) as caught:
        load_job(path, overrides)
    return [(problem.line, ".".join(map(str, problem.loc)), problem.message) for problem in caught.value.problems]


WRONG = {
    # unknown keys, at every level
    "top": (GOOD + "nmae: x\n", 4, "nmae", "unknown key 'nmae'; did you mean 'name'? (valid keys: combiner, data,"),
    "data": (
        "data:\n  kind: digits\n  limitt: 3\nmembers: {svm: svm}\n",
        3,
        "data.limitt",
        "did you mean 'limit'? (valid keys: kind, limit, test)",
    ),
    "split": (
        "data:\n  kind: digits\n  test:\n    fraction: 0.2\n    sede: 1\nmembers: {svm: svm}\n",
        5,
        "data.test.sede",
        "did you mean 'seed'? (valid keys: fraction, seed)",
    ),
    "member": (NET + "    epoch: 3\n", 6, "members.cnn.epoch", "unknown key 'epoch'; did you mean 'epochs'?"),
    "arch": (
        "data: digits\nmembers:\n  cnn:\n    kind: net\n    arch: {kind: small_cnn,\n           widht: 3}\n",
        6,
        "members.cnn.arch.widht",
        "unknown key 'widht'; did you mean 'width'? (valid keys: kind, norm, width)",
    ),
    "optimizer": (
        NET + "    optimizer: {kind: sgd, momentm: 1}\n",
        6,
        "members.cnn.optimizer.momentm",
        "did you mean 'momentum'?",
    ),
    "augment": (NET + "    augment: {miror: true}\n", 6, "members.cnn.augment.miror", "did you mean 'mirror'?"),
    "augmentation": (
        NET + "    augment:\n      mirror: true\n      rotation: {degree: 10}\n",
        8,
        "members.cnn.augment.rotation.degree",
        "did you mean 'degrees'? (valid keys: degrees, fill, kind, step)",
    ),
    "an augmentation's value": (
        NET + "    augment: {rotation: 400}\n",
        6,
        "members.cnn.augment.rotation",
        "should be less than or equal to 180, but is 400",
    ),
    "an augmentation's switch": (
        NET + "    augment:\n      trivialaugment: 3\n",
        7,
        "members.cnn.augment.trivialaugment",
        "3 is neither true nor a mapping (keys: none)",
    ),
    "an augmentation of nothing": (
        NET + "    augment:\n      mirror:\n",
        7,
        "members.cnn.augment.mirror",
        "is empty; write `mirror: true` for the defaults, or `mirror: false` to leave it out",
    ),
    "augmentations": (
        NET + "    augment: [mirror]\n",
        6,
        "members.cnn.augment",
        "must be a mapping from augmentations to their parameters, not ['mirror']",
    ),
    "areas": (
        NET + "    augment: {erase: {least: 0.5}}\n",
        6,
        "members.cnn.augment.erase",
        "least (0.5) is greater than most (0.33); exchange them",
    ),
    "angles": (
        NET + "    augment: {rotation: {degrees: 10, step: 90}}\n",
        6,
        "members.cnn.augment.rotation",
        "a step of 90 is beyond the maximum angle, 10; raise degrees",
    ),
    "mixing at prediction": (
        NET + "    tta: {augment: {cutmix: 1}}\n",
        6,
        "members.cnn.tta",
        "cutmix would mix the rows during prediction; remove it",
    ),
    "a single pass": (
        NET + "    tta: {augment: {mirror: true}, passes: 1}\n",
        6,
        "members.cnn.tta.passes",
        "should be greater than or equal to 2, but is 1",
    ),
    "stopping": (NET + "    early_stopping: {patince: 3}\n", 6, "members.cnn.early_stopping.patince", "'patience'"),
    "validation": (GOOD + "validation:\n  fold: 3\n", 5, "validation.fold", "did you mean 'folds'?"),
    "execution": (GOOD + "execution: {retry: 3}\n", 4, "execution.retry", "did you mean 'retries'?"),
    # unknown kinds
    "member kind": (
        "data: digits\nmembers:\n  a: svm\n  b: {kind: smv}\n",
        4,
        "members.b",
        "unknown member kind 'smv'; did you mean 'svm'? (choose from catboost, extra_trees, ",
    ),
    "no kind": ("data: digits\nmembers:\n  a: {C: 3}\n", 3, "members.a", "the key 'kind' is missing; choose from"),
    "nothing": ("data: digits\nmembers:\n  a:\n", 3, "members.a", "expected the name of a member kind or a mapping"),
    "arch kind": (
        "data: digits\nmembers:\n  a:\n    kind: net\n    arch: smal_cnn\n",
        5,
        "members.a.arch",
        "unknown architecture 'smal_cnn'; did you mean 'small_cnn'? (choose from mlp, small_cnn, small_resnet, tabm, ",
    ),
    "timm model": (
        "data: digits\nmembers:\n  a:\n    kind: net\n    arch: timm/resnet18x\n",
        5,
        "members.a.arch",
        "timm has no model 'resnet18x'; did you mean 'resnet18'?",
    ),
    "optimizer kind": (
        NET + "    optimizer: sdg\n",
        6,
        "members.cnn.optimizer",
        "unknown optimizer 'sdg'; did you mean",
    ),
    "schedule kind": (
        NET + "    schedule: {kind: onecycle}\n",
        6,
        "members.cnn.schedule",
        "unknown schedule 'onecycle'; did you mean 'one_cycle'? (choose from constant, cosine, exponential, ",
    ),
    "data kind": (
        "data: digit\nmembers: {a: svm}\n",
        1,
        "data",
        "unknown data kind 'digit'; did you mean 'digits'? (choose from csv, digits, ",
    ),
    "combiner kind": (
        GOOD + "combiner: calibrated_gredy\n",
        4,
        "combiner",
        "unknown combiner 'calibrated_gredy'; did you mean 'calibrated_greedy'? (choose from auto, best_single,",
    ),
    # what is missing
    "no data": ("members: {a: svm}\n", 1, "data", "the key 'data' is missing"),
    "no members": ("data: digits\n", 1, "members", "the key 'members' is missing"),
    "no arch": ("data: digits\nmembers:\n  a: {kind: net}\n", 3, "members.a.arch", "the key 'arch' is missing"),
    "nobody": ("data: digits\nmembers: {}\n", 2, "members", "an ensemble needs at least one member"),
    "no file": (
        "data:\n  kind: npz\n  train: rows.npz\nmembers: {a: svm}\n",
        3,
        "data.train",
        "there is no 'rows.npz', neither in the job file's folder nor in",
    ),
    "wrong scheme": (
        "data:\n  kind: npz\n  train: s4://bucket/rows.npz\nmembers: {a: svm}\n",
        3,
        "data.train",
        "s4:// is not one of s3://, gs://, az://, https://, http://",
    ),
    "credentials": (
        "data:\n  kind: npz\n  train: https://me:secret@host/rows.npz\nmembers: {a: svm}\n",
        3,
        "data.train",
        "a URL must not contain credentials; set them as environment variables",
    ),
    "no path": (
        "data:\n  kind: npz\n  train: s3://bucket\nmembers: {a: svm}\n",
        3,
        "data.train",
        "'s3://bucket' lacks the path of a file or folder",
    ),
    "URL of the weights": (
        "data: digits\nmembers:\n  a:\n    kind: net\n    arch: small_cnn\n    weights: s3://bucket/a.safetensors\n",
        6,
        "members.a.weights",
        "is a URL; this key takes a path of this machine",
    ),
    "features on a net": (
        NET + "    features: timm/resnet18\n",
        3,
        "members.cnn",
        "features is for members that are not networks; for a network, set arch: timm/NAME and weights: instead",
    ),
    "features of nothing": (
        "data: digits\nmembers:\n  a: {kind: svm, features: resnet18}\n",
        3,
        "members.a.features",
        "features requires a network of timm, but 'resnet18' is not one; write timm/NAME",
    ),
    "features of an unknown network": (
        "data: digits\nmembers:\n  a: {kind: svm, features: timm/resnet18x}\n",
        3,
        "members.a.features",
        "timm has no model 'resnet18x'; did you mean 'resnet18'?",
    ),
    "features in a list": (
        "data: digits\nmembers:\n  a: {kind: svm, features: [timm/resnet18]}\n",
        3,
        "members.a.features",
        "should be a mapping of keys to values",
    ),
    "no weights of features": (
        "data: digits\nmembers:\n  a: {kind: svm, features: {arch: timm/resnet18, weights: w.pth}}\n",
        3,
        "members.a.features.weights",
        "there is no 'w.pth'",
    ),
    "a folder as weights": (
        "data: digits\nmembers:\n  a: {kind: svm, features: {arch: timm/resnet18, weights: .}}\n",
        3,
        "members.a.features.weights",
        "is not a file",
    ),
    "size of features": (
        "data: digits\nmembers:\n  a: {kind: svm, features: {arch: timm/resnet18, size: 2}}\n",
        3,
        "members.a.features.size",
        "should be greater than or equal to 4, but is 2",
    ),
    "standardize": (
        "data: digits\nmembers:\n  a: {kind: svm, standardize: zac}\n",
        3,
        "members.a.standardize",
        "'zca'",
    ),
    "no weights": (NET + "    weights: w.pth\n", 6, "members.cnn.weights", "there is no 'w.pth'"),
    # wrong types
    "list": ("data: digits\nmembers:\n  - svm\n", 2, "members", "should be a mapping of keys to values"),
    "text": (GOOD + "validation: kfold\n", 4, "validation", "should be a mapping of keys to values, but is 'kfold'"),
    "number": (
        "data: digits\nmembers:\n  a: {kind: svm, C: high}\n",
        3,
        "members.a.C",
        "should be a valid number, unable to parse string as a number, but is 'high'",
    ),
    "in a list": (
        "data: digits\nmembers:\n  a:\n    kind: net\n    arch:\n      kind: mlp\n      hidden: [3,\n        x]\n",
        8,
        "members.a.arch.hidden.1",
        "should be a valid integer, unable to parse string as an integer, but is 'x'",
    ),
    "fraction of a copy": ("data: digits\nmembers:\n  a: {kind: svm, copies: 1.5}\n", 3, "members.a.copies", "1.5"),
    "union": ("data: digits\nmembers:\n  a: {kind: svm, gamma: big}\n", 3, "members.a.gamma", "'scale' or 'auto' or"),
    "bytes": (
        "data: digits\nmembers:\n  a: {kind: svm, memory: 1.2.3GiB}\n",
        3,
        "members.a.memory",
        "'1.2.3GiB' is neither a number of bytes nor a size such as '2GiB'",
    ),
    "gpus": (
        "data: digits\nmembers:\n  a: {kind: svm, gpus: many}\n",
        3,
        "members.a.gpus",
        "should be a valid number, unable to parse string as a number, but is 'many' or 'many' is not one of 'auto'",
    ),
    "value of a label": (
        "data: digits\nmembers:\n  a: {kind: svm, needs: {accelerator: H 100}}\n",
        3,
        "members.a.needs",
        "accelerator: 'H 100' is not the value of a label: use at most 63 letters, digits, '-', '_' and '.', and begin",
    ),
    "name of a label": (
        "data: digits\nmembers:\n  a: {kind: svm, needs: {-zone: a}}\n",
        3,
        "members.a.needs",
        "'-zone' is not the name of a label",
    ),
    # out of range
    "seed": ("seed: -1\n" + GOOD, 1, "seed", "should be greater than or equal to 0, but is -1"),
    "dropout": (NET + "    dropout: 1\n", 6, "members.cnn.dropout", "should be less than 1, but is 1"),
    "train-dev of the training rows": (
        GOOD + "validation: {train_dev: 0.1}\n",
        4,
        "validation",
        "train_dev: 0.1 requires a test set that is separate from the training rows, but the test rows are a part of",
    ),
    "train-dev without a test": (
        "data: {kind: digits, test: null}\nmembers: {a: svm}\nvalidation:\n  train_dev: 0.1\n",
        3,
        "validation",
        "but there are no test rows; name a file in data.test, or leave train_dev out",
    ),
    "all train-dev": (GOOD + "validation: {train_dev: 1}\n", 4, "validation.train_dev", "should be less than 1"),
    "folds": (GOOD + "validation: {folds: 1}\n", 4, "validation.folds", "should be greater than or equal to 2"),
    "quorum": (
        GOOD + "quorum: {members: 1.5}\n",
        4,
        "quorum.members",
        "neither a fraction (at most 1.0)",
    ),
    "scheme": (
        GOOD + "validation: {scheme: kfld}\n",
        4,
        "validation.scheme",
        "'kfld' is not one of 'auto', 'kfold' or 'holdout'; did you mean 'kfold'?",
    ),
    "vary below a value": (
        "data: digits\nmembers:\n  n: {kind: net, arch: small_cnn, copies: 2, vary: {lr.x: [1]}}\n",
        3,
        "members.n",
        "vary: lr.x: lr is 0.01, which has no keys",
    ),
    "unknown key in vary": (
        "data: digits\nmembers:\n  n: {kind: net, arch: small_cnn, copies: 2, vary: {arch.widht: [4, 8]}}\n",
        3,
        "members.n",
        "vary: copy 1: arch.widht: unknown key 'widht'; did you mean 'width'? (valid keys:",
    ),
    "value of vary": (
        "data: digits\nmembers:\n  n: {kind: net, arch: small_cnn, copies: 2, vary: {dropout: [0, 2]}}\n",
        3,
        "members.n",
        "vary: copy 2: dropout: should be less than 1, but is 2",
    ),
    "units of no size": (
        "data: digits\nmembers:\n  n: {kind: net, arch: {kind: mlp, hidden: [0]}}\n",
        3,
        "members.n.arch.hidden.0",
        "should be greater than or equal to 1, but is 0",
    ),
    "long name": (GOOD + f"name: {'a' * 101}\n", 4, "name", "at most 100 letters"),
    "long member name": (
        f"data: digits\nmembers:\n  {'a' * 101}: svm\n",
        3,
        f"members.{'a' * 101}",
        "at most 100 letters",
    ),
    "name": (GOOD + "name: a b\n", 4, "name", "use at most 100 letters, digits, '-' and '_'"),
    "member name": (
        "data: digits\nmembers:\n  b: svm\n  a.b: svm\n",
        4,
        "members.a.b",
        "the member name 'a.b' is not valid; use at most 100 letters",
    ),
    # what does not go together
    "patience": (
        NET + "    epochs: 2\n    early_stopping: {patience: 5}\n",
        3,
        "members.cnn",
        "early_stopping.patience is 5, more than the 2 epochs; lower it or raise epochs",
    ),
    "hub": (
        NET + "    weights: hub\n",
        3,
        "members.cnn",
        "weights: hub needs a timm or torchvision architecture, and 'mlp' is neither",
    ),
    "init": (
        NET.replace("mlp", "timm/resnet10t") + "    weights: hub\n    init: he_normal\n",
        3,
        "members.cnn",
        "init: he_normal would overwrite the loaded weights; remove one of them",
    ),
    "warm-up": (
        NET + "    epochs: 3\n    schedule: {kind: cosine, warmup: 3}\n",
        3,
        "members.cnn",
        "schedule.warmup is 3, which leaves no epoch of 3 epochs for the schedule; lower it or raise epochs",
    ),
    "step beyond the end": (
        NET + "    epochs: 10\n    schedule: step\n",
        3,
        "members.cnn",
        "schedule step: with every: 10 the rate never falls in the 10 epochs; lower every, or take constant",
    ),
    "step beyond the end of what the warm-up leaves": (
        NET + "    epochs: 10\n    schedule: {kind: step, every: 8, warmup: 2}\n",
        3,
        "members.cnn",
        "with every: 8 the rate never falls in the 8 epochs after the warm-up; lower every, or take constant",
    ),
    "plateau": (
        NET + "    epochs: 12\n    schedule: plateau\n",
        3,
        "members.cnn",
        "schedule plateau: with patience: 10 the rate cannot fall in the 12 epochs; lower patience, or take constant",
    ),
    "cycles": (
        NET + "    epochs: 1\n    schedule: {kind: cosine, cycles: 2}\n",
        3,
        "members.cnn",
        "schedule cosine: there is no room for 2 cycles in the 1 epoch; lower cycles or raise epochs",
    ),
    "metric": (
        NET + "    schedule: {kind: plateau, metric: train_loss}\n",
        6,
        "members.cnn.schedule.metric",
        "'train_loss' is not one of 'valid_loss', 'valid_accuracy', 'valid_precision' or 'valid_recall'",
    ),
    "factor": (
        NET + "    schedule: {kind: exponential, factor: 1.1}\n",
        6,
        "members.cnn.schedule.factor",
        "should be less than 1, but is 1.1",
    ),
    "start of a warm-up": (
        NET + "    schedule: {kind: constant, warmup_start: 0}\n",
        6,
        "members.cnn.schedule.warmup_start",
        "should be greater than 0, but is 0",
    ),
    "no rate": (NET + "    lr: 0\n", 6, "members.cnn.lr", "should be greater than 0, but is 0"),
    "endless rate": (NET + "    lr: .inf\n", 6, "members.cnn.lr", "should be less than or equal to 100, but is inf"),
    "negative decay": (NET + "    weight_decay: -1\n", 6, "members.cnn.weight_decay", "greater than or equal to 0"),
    "decay of what": (NET + "    decay: norms\n", 6, "members.cnn.decay", "'norms' is not one of 'all' or 'weights'"),
    "layer decay": (NET + "    layer_decay: 0\n", 6, "members.cnn.layer_decay", "should be greater than 0, but is 0"),
    "momentum of adam": (
        NET + "    optimizer: {kind: adam, momentum_warmup: {epochs: 3}}\n",
        6,
        "members.cnn.optimizer.momentum_warmup",
        "unknown key 'momentum_warmup' (valid keys: amsgrad, betas, eps, kind)",
    ),
    "beta": (
        NET + "    optimizer: {kind: adamw, betas: [0.9, 1]}\n",
        6,
        "members.cnn.optimizer.betas.1",
        "should be less than 1, but is 1",
    ),
    "betas": (
        NET + "    optimizer: {kind: adam, betas: [0.9]}\n",
        6,
        "members.cnn.optimizer.betas.1",
        "the key '1' is missing",
    ),
    "start of the momentum": (
        NET + "    optimizer: {kind: sgd, momentum: 0.4, momentum_warmup: {}}\n",
        6,
        "members.cnn.optimizer",
        "momentum_warmup.start is 0.5, not below the momentum of 0.4; lower it or raise momentum",
    ),
    "long momentum": (
        NET + "    epochs: 4\n    optimizer: {kind: sgd, momentum_warmup: {}}\n",
        3,
        "members.cnn",
        "optimizer.momentum_warmup.epochs is 5, more than the 4 epochs of the training; lower it or raise epochs",
    ),
    "initialization kind": (
        NET + "    init: he\n",
        6,
        "members.cnn.init",
        "unknown initialization 'he' (choose from default, he_normal, he_uniform, ",
    ),
    "gain": (
        NET + "    init: {kind: orthogonal, gain: -1}\n",
        6,
        "members.cnn.init.gain",
        "should be greater than 0, but is -1",
    ),
    "norm": (
        "data: digits\nmembers:\n  cnn:\n    kind: net\n    arch: {kind: mlp, norm: layer}\n",
        5,
        "members.cnn.arch.norm",
        "'layer' is not one of 'batch', 'none' or 'group'",
    ),
    "group of one": (
        "data: digits\nmembers:\n  cnn:\n    kind: net\n    arch: {kind: mlp, norm: group, hidden: [8, 1]}\n",
        5,
        "members.cnn.arch",
        "norm: group would make a hidden layer of 1 unit always 0; choose batch, none, or more units",
    ),
    "head epochs": (
        NET + "    epochs: 3\n    pretrain: autoencoder\n    finetune: {head_epochs: 3}\n",
        3,
        "members.cnn",
        "finetune.head_epochs is 3 of 3 epochs, so the backbone would never be trained; lower it, raise epochs, or",
    ),
    "two rates below the head": (
        NET + "    layer_decay: 0.8\n    pretrain: autoencoder\n    finetune: {}\n",
        3,
        "members.cnn",
        "layer_decay: 0.8 and finetune.backbone_lr: 0.1 would both lower the learning rate of the layers below the "
        "head; ",
    ),
    "nothing to tune": (
        NET + "    finetune: {freeze: backbone}\n",
        3,
        "members.cnn",
        "finetune requires initial weights: add weights or pretrain, or leave it out",
    ),
    "gradual": (
        NET + "    pretrain: autoencoder\n    finetune: {unfreeze: gradual}\n",
        7,
        "members.cnn.finetune",
        "unfreeze: gradual begins with the head alone; set head_epochs to 1 or more",
    ),
    "frozen": (
        NET + "    pretrain: autoencoder\n    finetune: {freeze: backbone, head_epochs: 2}\n",
        7,
        "members.cnn.finetune",
        "freeze: backbone trains only the head in every epoch; leave out head_epochs and unfreeze",
    ),
    "contrast": (
        NET + "    pretrain: simclr\n",
        3,
        "members.cnn",
        "pretrain: simclr requires a convolutional architecture, but 'mlp' is not one; choose pretrain: autoencoder",
    ),
    "pretraining kind": (
        NET + "    pretrain: {kind: simcrl}\n",
        6,
        "members.cnn.pretrain",
        "unknown pretraining 'simcrl'; did you mean 'simclr'? (choose from autoencoder, simclr)",
    ),
    "pretraining": (
        NET + "    pretrain: {kind: autoencoder, epoch: 3}\n",
        6,
        "members.cnn.pretrain.epoch",
        "unknown key 'epoch'; did you mean 'epochs'?",
    ),
    "no worker": (NET + "    workers: 0\n", 6, "members.cnn.workers", "should be greater than or equal to 1, but is 0"),
    "workers in the wrong order": (
        NET + "    workers: [8, 1]\n",
        6,
        "members.cnn.workers",
        "[8, 1] starts with the larger number; write [1, 8]",
    ),
    "three numbers of workers": (
        NET + "    workers: [1, 2, 3]\n",
        6,
        "members.cnn.workers",
        "[1, 2, 3] has 3 numbers; give the least and the largest, such as [1, 8]",
    ),
    "more workers than a batch has rows": (
        NET + "    batch_size: 8\n    workers: 5\n",
        3,
        "members.cnn",
        "5 workers need a batch_size of at least 10, which is 2 rows for each, but it is 8; raise batch_size or lower",
    ),
    "workers that pretrain": (
        NET + "    pretrain: autoencoder\n    workers: 2\n",
        3,
        "members.cnn",
        "pretrain works with one worker only; remove workers or pretrain",
    ),
    "normalizations of a single worker": (
        NET + "    sync_batchnorm: true\n",
        3,
        "members.cnn",
        "sync_batchnorm is for several workers, but workers is 1; set workers, or remove it",
    ),
    "nesterov": (
        NET + "    optimizer: {kind: sgd, momentum: 0, nesterov: true}\n",
        6,
        "members.cnn.optimizer",
        "nesterov requires a momentum above 0",
    ),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_a_mistake_is_named_once_with_its_line_its_path_and_the_fix(case, job_file):
    text, line, path, words = WRONG[case]

    ((found_line, found_path, message),) = mistakes(job_file(text))

    assert (found_line, found_path) == (line, path)
    assert words in message


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_the_command_ends_with_code_2_the_line_and_no_traceback(case, job_file, capsys, monkeypatch):
    text, line, path, _ = WRONG[case]
    file = job_file(text)
    monkeypatch.setattr(sys, "argv", ["quorate", "train", str(file), "--dry-run"])
    monkeypatch.setenv("COLUMNS", "400")

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert f"{file.name}:{line}" in said.err and path in said.err
    assert "Traceback" not in said.err + said.out


def test_a_mapping_is_validated_as_a_mapping_if_a_path_is_also_allowed(job_file):
    text = "data:\n  kind: npz\n  train: job.yaml\n  test: {fractoin: 0.2}\nmembers: {a: svm}\n"

    found = mistakes(job_file(text))

    assert [(line, path) for line, path, _ in found] == [(4, "data.test.fraction"), (4, "data.test.fractoin")]
    assert found[0][2] == "the key 'fraction' is missing"
    assert "did you mean 'fraction'?" in found[1][2]


def test_a_path_is_validated_as_a_path_if_a_mapping_is_also_allowed(job_file):
    text = "data:\n  kind: npz\n  train: job.yaml\n  test: nowhere.npz\nmembers: {a: svm}\n"

    ((line, path, message),) = mistakes(job_file(text))

    assert (line, path) == (4, "data.test")
    assert message.startswith("there is no 'nowhere.npz'") and "mapping" not in message


def test_all_mistakes_are_reported_together_in_the_order_of_lines(job_file):
    path = job_file(
        "seed: -1\ndata: digit\nmembers:\n"
        "  a: {kind: svm, C: 0}\n  b: {kind: net, arch: {kind: mlp, hiden: 3}, epochs: 0}\n"
        "combiner: middle\nvalidation:\n  folds: 0\n"
    )

    with pytest.raises(SpecError) as caught:
        load_job(path)

    places = [re.match(rf"{re.escape(str(path))}:(\d+): ([\w.]+): ", line) for line in str(caught.value).splitlines()]
    assert [(int(place[1]), place[2]) for place in places if place] == [
        (1, "seed"),
        (2, "data"),
        (4, "members.a.C"),
        (5, "members.b.arch.hiden"),
        (5, "members.b.epochs"),
        (6, "combiner"),
        (8, "validation.folds"),
    ]
    assert None not in places


def test_an_override_can_fix_a_file_and_can_break_it(job_file):
    path = job_file(NET + "    epochs: 0\n")

    assert load_job(path, ["members.cnn.epochs=3"]).spec.members["cnn"].epochs == 3
    assert mistakes(path, "members.cnn.epochs=3", "members.cnn.lr=-1") == [
        (0, "members.cnn.lr", "should be greater than 0, but is -1")
    ]
    ((line, place, message),) = mistakes(path, "members.cnn={kind: net, arch: mlp, epoch: 3}")
    assert (line, place) == (0, "members.cnn.epoch") and "did you mean 'epochs'?" in message


def test_a_bare_name_stands_for_a_kind_with_its_defaults(job_file):
    short = load_job(job_file("data: digits\nmembers: {a: svm}\n")).spec
    long = load_job(job_file("data: {kind: digits}\nmembers: {a: {kind: svm}}\n")).spec

    assert short == long
    assert short.combiner.kind == "calibrated_greedy"


def test_relative_paths_start_at_the_folder_of_the_job_file(job_file, tmp_path, monkeypatch):
    # given: two archives of that name
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        (folder / "rows.npz").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")

    # when
    spec = load_job(job_file("data:\n  kind: npz\n  train: rows.npz\nmembers: {a: svm}\n")).spec

    # then
    assert spec.data.train == tmp_path / "rows.npz"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1000", 1000), ("2GiB", 2 << 30), ("1.5 M", 3 << 19), ("64KB", 65536), ("1T", 1 << 40)],
)
def test_sizes_may_have_a_unit(text, size, job_file):
    spec = load_job(job_file(f"data: digits\nmembers:\n  a: {{kind: svm, memory: {text}}}\n")).spec

    assert spec.members["a"].memory == size


def test_needs_are_labels_of_nodes_and_accelerator_is_the_label_of_ray(job_file):
    text = "data: digits\nmembers:\n  a: {kind: svm, needs: {zone: 1, accelerator: H100, team/name: x}}\n"

    params = load_job(job_file(text)).spec.members["a"]

    assert params.node_labels == (("ray.io/accelerator-type", "H100"), ("team/name", "x"), ("zone", "1"))
    assert (params.memory, params.gpus, params.accelerators) == ("auto", "auto", 0)


def test_the_record_of_a_job_does_not_keep_the_query_of_a_url(job_file, tmp_path):
    # given
    signed = "https://example.org/rows.npz?X-Amz-Signature=abc123"
    job = load_job(
        job_file(f"data:\n  kind: npz\n  train: {signed}\n  test: s3://bucket/test.npz\nmembers: {{a: svm}}\n")
    )
    assert job.spec.data.train == signed
    record = tmp_path / "job.json"

    # when
    record.write_bytes(record_of(job.spec))

    # then
    assert json.loads(record.read_text())["members"] == json.loads(job.spec.model_dump_json())["members"]
    assert "abc123" not in record.read_text()
    recorded = spec_of_run(record).data
    assert recorded.train == "https://example.org/rows.npz?(not recorded)"
    assert recorded.test == "s3://bucket/test.npz"
    in_report = job_in(RunFolder(tmp_path), job.spec)
    assert "train: https://example.org/rows.npz?(not recorded)" in in_report and "abc123" not in in_report
    with pytest.raises(SpecError, match="does not keep the query of a URL, because it can hold a secret; to read the"):
        load_job(record)


def test_a_spec_is_frozen(job_file):
    spec = load_job(job_file(GOOD)).spec

    for part, name in ((spec, "seed"), (spec.data, "limit"), (spec.members["svm"], "C"), (spec.validation, "folds")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 3)


def test_errors_of_a_job_point_to_lines_of_its_file(job_file):
    job = load_job(job_file(GOOD))

    error = job.error((("members", "svm", "C"), "too much"), (("data",), "too little"))

    assert [problem.line for problem in error.problems] == [1, 3]
    assert str(error).endswith("members.svm.C: too much")


@pytest.mark.parametrize(
    ("members", "total", "needed"),
    [(0.5, 9, 5), (0.5, 1, 1), (1.0, 9, 9), (1, 9, 1), (3, 9, 3), (20, 9, 9), (0.01, 9, 1)],
)
def test_a_quorum_is_a_number_of_members_or_a_part_of_them(members, total, needed):
    assert QuorumSpec(members=members).of(total) == needed


def test_copies_can_differ_by_kind_and_its_parameters(job_file):
    spec = load_job(
        job_file(
            "data: digits\nmembers:\n"
            "  a: {kind: net, arch: mlp, copies: 2, vary: {optimizer.kind: [sgd, adam]}}\n"
            "  b: {kind: net, arch: mlp, epochs: 4, copies: 2, vary: {snapshots: [1, 2]}}\n"
            "  c: {kind: net, arch: mlp, copies: 2, vary: {optimizer.momentum: [0.5, 0.8]}}\n"
        )
    ).spec

    a, b, c = (spec.members[name] for name in "abc")
    assert [a.of_copy(copy).optimizer.kind for copy in (0, 1)] == ["sgd", "adam"]
    assert [getattr(b.of_copy(copy).schedule, "cycles", 1) for copy in (0, 1)] == [1, 2]
    assert [c.of_copy(copy).optimizer.momentum for copy in (0, 1)] == [0.5, 0.8]


def test_paths_in_copies_are_relative_to_the_job_file(job_file, tmp_path, monkeypatch):
    folder = job_file("").parent
    for name in ("one", "two"):
        (folder / f"{name}.safetensors").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    member = "{kind: net, arch: mlp, copies: 2, vary: {weights: [one.safetensors, two.safetensors]}}"

    spec = load_job(job_file(f"data: digits\nmembers:\n  n: {member}\n")).spec

    expected = [folder / f"{name}.safetensors" for name in ("one", "two")]
    assert [spec.members["n"].of_copy(copy).weights for copy in (0, 1)] == expected
    kept = tmp_path / "elsewhere" / "job.json"
    kept.write_text(spec.model_dump_json(), encoding="utf-8")
    assert [load_job(kept).spec.members["n"].of_copy(copy).weights for copy in (0, 1)] == expected
