"""Settings of the strategies; the defaults are those of the authors. Nothing here loads torch."""

from typing import Annotated, Literal

from pydantic import Field

from vseg_nas.settings import LATER, Amount, Positive, PositiveNumber, Settings, Share

Feedback = Literal["hidden", "token"]
"""What the LSTM of the policy reads at each step: its own hidden state, as the authors' does, or the last token."""


class PolicyGradientSettings(Settings):
    """What PPO and REINFORCE share.

    Attributes:
        feedback: The input of the policy after each token, as in `Policy`.
        learning_rate: The learning rate of Adam (section 4.1).
        baseline_decay: The weight of the old baseline in the moving average of rewards that the new one is.
        max_grad_norm: The largest norm of the gradient of all parameters, to which a larger one is scaled down.
        entropy_coef: The weight of the entropy bonus in the loss.
    """

    feedback: Feedback = "hidden"
    learning_rate: PositiveNumber = 1e-4
    baseline_decay: Share = 0.95
    max_grad_norm: PositiveNumber = 2.0
    entropy_coef: Amount = 0.0


class PPOSettings(PolicyGradientSettings):
    """Proximal policy optimization (section 4.1).

    Attributes:
        clip: The distance of the ratio of probabilities from 1 beyond which the gradient vanishes.
        buffer_size: The number of token strings to keep.
        minibatch_size: The number of strings per gradient step.
        reference: Whether the buffer starts full of empty rows, as in the authors' code.
    """

    name: Literal["ppo"] = "ppo"
    clip: Annotated[float, Field(gt=0, le=1)] = 0.1
    buffer_size: Positive = 100
    minibatch_size: Positive = 1
    reference: Annotated[bool, LATER] = False


class ReinforceSettings(PolicyGradientSettings):
    """Policy gradient with a moving-average baseline."""

    name: Literal["reinforce"] = "reinforce"


class RandomSettings(Settings):
    """Uniform sampling of tokens."""

    name: Literal["random"] = "random"


StrategySettings = Annotated[PPOSettings | ReinforceSettings | RandomSettings, Field(discriminator="name")]
