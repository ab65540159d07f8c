"""The loss over the learning rates of a range test."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from mmjax.report import figures


def draw(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggestion: float
) -> bytes:
    """A PNG: each step's loss faint, the smoothed one bold, the suggestion dashed."""

    def drawn(axes: Axes, colours: figures.Colours) -> None:
        axes.plot(rates, losses, color=colours.series[0], linewidth=0.8, alpha=0.35)
        axes.plot(rates, smooth, color=colours.series[0], linewidth=1.7)
        axes.axvline(suggestion, color=colours.series[1], linewidth=1.2, linestyle=(0, (3, 3)))
        axes.set_xscale("log")
        low = min(smooth)
        axes.set_ylim(low - 0.1 * abs(low), max(smooth[0], low) * 1.3)
        axes.set(xlabel=f"learning rate (suggested: {suggestion:.2g})", ylabel="loss")

    return figures.png([drawn], (5.2, 3.4))
