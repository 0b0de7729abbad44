"""Settings of the trainings: of the static network, of a cell alone, and of both together. Nothing here loads torch."""

from typing import Annotated, Literal

from vseg_nas.data.settings import TransformSettings
from vseg_nas.settings import (
    EXECUTION,
    LATER,
    Amount,
    Count,
    FolderName,
    Positive,
    PositiveNumber,
    Settings,
    Share,
    Size,
)

Schedule = Literal["constant", "poly"]
"""The schedule of a cell's learning rate: constant as in the paper, or falling to 0.

With the latter, trainings that differ in their seed alone have closer scores.
"""
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
CachePrecision = Literal["fp32", "fp16"]


class DeviceSettings(Settings):
    """Where and how precisely to compute.

    Attributes:
        name: The name of the choice.
        accelerator: The kind of device; ``auto`` is CUDA if there is a CUDA device, and the CPU otherwise.
        precision: The precision of training, in Lightning's words.
        workers: The number of processes, for each device, that read and augment frames.
        threads: The number of torch's threads on the CPU; None leaves torch's choice.
        cache_precision: The precision of cached features.
        devices: The number of devices; None means all CUDA devices of the machine.
    """

    name: Annotated[FolderName, EXECUTION]
    accelerator: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION]
    precision: Precision
    workers: Annotated[Count, EXECUTION]
    threads: Positive | None
    cache_precision: CachePrecision
    devices: Annotated[Positive | None, EXECUTION, LATER] = 1


class StaticTraining(Settings):
    """Pre-training: SGD with a poly schedule, and a learning rate each for encoder and decoder (section 6).

    Attributes:
        epochs: The number of passes over the training split.
        batch_size: The number of frames in a batch, on all devices together.
        encoder_lr: The initial learning rate of the encoder.
        decoder_lr: The initial learning rate of the decoder.
        momentum: The momentum of SGD.
        weight_decay: The factor of the L2 penalty on all weights.
        power: The exponent of the poly schedule.
        auxiliary_weight: The weight of the loss of each auxiliary head.
        gradient_clip: The largest norm of the gradient of the encoder, and of that of the decoder.
        average_decay: The decay per step of an exponential moving average of the weights, which is validated and
            written in place of the weights; None averages nothing.
        val_every: The number of epochs between validations; the last epoch is always validated.
        transform: The augmentation of the frames.
    """

    epochs: Positive
    batch_size: Positive
    encoder_lr: PositiveNumber
    decoder_lr: PositiveNumber
    momentum: Share
    weight_decay: Amount
    power: Amount
    auxiliary_weight: Amount
    gradient_clip: PositiveNumber
    average_decay: Share | None
    val_every: Positive
    transform: TransformSettings


class Unroll(Settings):
    """How a cell learns from clips of several frames, in which it reads its own output of the frame before.

    Attributes:
        gradient_frames: The number of frames through which a gradient flows. The frames after the key frame are cut
            into pieces of so many, and no gradient leaves a piece; only the first one, which begins at the key frame,
            passes it on to the static network. None cuts nothing.
        damaged: The share of clips in a batch whose cell starts from a damaged past: an empty one, that of a frame
            earlier than it should be, or one that lies at the wrong place.
    """

    gradient_frames: Positive | None = None
    damaged: Share = 0.0


class CellTraining(Settings):
    """Training of a cell alone by Adam, on cached features; the defaults are those of CamVid in section 4.1.

    Attributes:
        epochs: The number of passes over the cached clips.
        batch_size: The number of clips in a batch.
        lr: The learning rate of Adam.
        weight_decay: The factor of the L2 penalty inside Adam.
        gradient_clip: The largest norm of the gradient; longer gradients are scaled down to it.
        schedule: The schedule of the learning rate over all epochs, whether or not the fit is stopped early.
        unroll: How the cell learns from clips of several frames.
    """

    epochs: Positive = 20
    batch_size: Positive = 48
    lr: PositiveNumber = 8e-3
    weight_decay: Amount = 1e-5
    schedule: Schedule = "constant"
    gradient_clip: PositiveNumber = 3.0
    unroll: Annotated[Unroll, LATER] = Unroll()


class CellStage(CellTraining):
    """A cell's training with the augmentation of its clips: of a candidate, or the first stage of the final training.

    Attributes:
        transform: The augmentation of the clips whose features are cached.
    """

    transform: TransformSettings


class VideoTraining(Settings):
    """End-to-end training: Adam for what predicts later frames, and SGD for everything else (section 4.2).

    Later frames, those after a key frame, are predicted by the cell and its classifier. Without a cell the decoder
    predicts them, and so it is trained by Adam as a cell would be.

    Attributes:
        epochs: The number of passes over the training clips; 0 leaves out this stage.
        batch_size: The number of clips in a batch, on all devices together.
        cell_lr: The learning rate of Adam.
        static_lr: The learning rate of SGD.
        momentum: The momentum of SGD.
        weight_decay: The factor of the L2 penalty on all weights.
        power: The exponent of the poly schedule of both; 0 keeps the learning rates constant.
        static_weight: The weight of the loss of the static network's own predictions. Without it, nothing but the
            later frames would train the encoder, and the predictions of key frames would drift.
        gradient_clip: The largest norm of the gradient of each part: encoder, decoder, cell.
        val_every: The number of epochs between validations; the last epoch is always validated.
        transform: The augmentation of the clips.
        unroll: How the cell learns from clips of several frames.
    """

    epochs: Count
    batch_size: Positive
    cell_lr: PositiveNumber
    static_lr: PositiveNumber
    momentum: Share
    weight_decay: Amount
    power: Amount
    static_weight: Amount
    gradient_clip: PositiveNumber
    val_every: Positive
    transform: TransformSettings
    unroll: Annotated[Unroll, LATER] = Unroll()


class FinalTraining(Settings):
    """The two stages of the training of a found cell (section 4.2).

    Attributes:
        val_size: Height and width to which validation frames are resized; None leaves them as they are.
        cell: The cell alone, on cached features.
        video: The whole network, on frames.
    """

    val_size: Size | None
    cell: CellStage
    video: VideoTraining
