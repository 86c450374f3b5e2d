"""How a network is trained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.io.config_model import Config, Positive


class TrainingConfig(Config):
    """How a network is trained."""

    epochs: int = Field(20, ge=1, le=100_000)
    """Passes over the training images."""
    batch_size: int = Field(64, ge=2, le=100_000)
    """Images a step, of all devices together."""
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    """What moves the weights; rmsprop is TensorFlow's (extra `imagenet`)."""
    learning_rate: Positive = 0.025
    """The learning rate at the start."""
    schedule: Literal["cosine", "exponential", "restarts"] = "cosine"
    """How the learning rate falls: a cosine to zero over all epochs; a factor at intervals; or
    cosines that begin again.
    """
    decay_rate: float = Field(0.97, gt=0, le=1)
    """The exponential schedule's factor."""
    decay_epochs: Positive = 2.4
    """The number of epochs after which the exponential schedule's factor applies again."""
    restart_epochs: int = Field(10, ge=1, le=100_000)
    """The length of the first cosine of `restarts`, in epochs."""
    restart_factor: int = Field(2, ge=1, le=100)
    """How many times longer each next cosine of `restarts` is."""
    min_learning_rate: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Where each cosine of `restarts` ends."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """The optimiser's momentum."""
    nesterov: bool = False
    """Whether momentum looks ahead (sgd)."""
    rmsprop_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of RMSProp's mean of squared gradients."""
    rmsprop_epsilon: Positive = 1.0
    """RMSProp's epsilon, inside the root."""
    weight_decay: float = Field(5e-4, ge=0, le=1)
    """The L2 penalty on convolution and linear weights."""
    grad_clip: Positive | None = 5.0
    """The largest global norm of the gradients; none: they are not clipped."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """The share of a label that is spread over all classes."""
    average_decay: float = Field(0.0, ge=0, lt=1)
    """The decay of the weights' moving average; 0: there is none."""
    average_ramp: bool = True
    """Whether that decay is at most (1 + t) / (10 + t) at step t, so that the first weights are
    soon forgotten.
    """
    auxiliary_weight: float = Field(0.4, ge=0, le=10)
    """The weight of an auxiliary head's loss."""
    freeze: bool = False
    """Whether the classifier alone is trained."""
    crop_padding: int = Field(4, ge=0, le=128)
    """Pixels added around an image before a random crop of its size."""
    crop_fill: Literal["mean", "black"] = "black"
    """What those pixels are."""
    flip: bool = True
    """Whether half of the images are mirrored left to right."""
    cutout: int = Field(0, ge=0, le=1024)
    """The side of the square that is blanked, in pixels; 0: none."""
    cutout_fill: Literal["mean", "black"] = "mean"
    """What the square is blanked with."""
    crop_area: float = Field(0.08, gt=0, le=1)
    """Of images brought to `image_size`, in place of crop_padding: the least share of
    an image's area that a random crop has.
    """
    distort_colors: bool = False
    """Whether the colours of images brought to `image_size` are distorted."""
    device: Literal["cpu", "cuda"] | None = None
    """Where children train; none: what the creating machine has."""
    devices: int = Field(1, ge=1, le=64)
    """The number of devices that train one network together."""
    threads: int = Field(1, ge=1, le=1024)
    """CPU threads of one training; part of the result's identity."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """Seconds after which a checkpoint is written, at the next end of an epoch."""
    timeout: Positive | None = None
    """Seconds without a step, after which a training has hung; none: five median epochs, 600 at
    least.
    """

    @model_validator(mode="after")
    def _momentum_looks_ahead(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov: needs optimizer = 'sgd' and a momentum above 0")
        return self
