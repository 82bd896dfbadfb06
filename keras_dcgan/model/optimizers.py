"""How the weights follow the gradients: Keras' Adam in one pass over the memory, and what changes over time, its
learning rate and the weight of a penalty.

Adam(Decay(4e-4, steps=7500, share=0.5), beta_1=0.5)     # as keras.optimizers.Adam
"""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """The same numbers, slots and checkpoints; each variable's update is one fused operation in place of
    many, each of which reads and writes all of it anew (Keras 3.15): 1 to 2 % of a step, and fewer operations
    to trace."""

    def __init__(self, learning_rate, beta_1: float = 0.9, beta_2: float = 0.999):
        super().__init__(learning_rate, beta_1=beta_1, beta_2=beta_2)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Adam's bias correction (Kingma and Ba, arXiv:1412.6980, 2015, section 2) as a factor of the rate, once
        for all variables."""
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, tf.float32)
        learning_rate *= tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        place = self._get_variable_index(variable)
        momentum, velocity = self._momentums[place].value, self._velocities[place].value
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=0.0,  # the bias is corrected in the rate
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Fall:
    """Step -> `weight` at first, falling exponentially to `end` times that after `steps`, where it stays."""

    def __init__(self, weight: float, steps: int, end: float):
        self.weight, self.steps, self.end = weight, steps, end

    def __call__(self, step):
        return self.weight * self.end ** tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """`rate` until the last `share` of the steps, then in a straight line to 0."""

    def __init__(self, rate: float, steps: int, share: float):
        self.rate, self.steps, self.share = rate, steps, share

    def __call__(self, step):
        left = (self.steps - tf.cast(step, tf.float32)) / max(self.share * self.steps, 1e-9)
        return self.rate * tf.clip_by_value(left, 0.0, 1.0)
