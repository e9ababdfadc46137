"""How methods look: colour by optimizer, dash by controller, whatever else is on the page."""

from agents.playground.function_settings import FunctionSettings
from agents.playground.landscape import curves, landscape
from agents.playground.look import COLORS, color_of, dash_of
from agents.playground.optimizers import OPTIMIZERS
from agents.playground.run_settings import TrainingSettings
from agents.playground.steering import train
from agents.playground.trainings import Trial, labels, loss_picture
from agents.registry import names
from optenv.figures.picture import Line


def looks(picture):
    lines = [*picture.panels[0].layers, *(picture.panels[0].frames or [()])[-1]]
    return {
        line.label: (line.color, line.dash) for line in lines if isinstance(line, Line) and line.label and line.width
    }


def test_every_optimizer_has_a_colour_and_every_controller_a_dash_of_its_own():
    assert set(COLORS) == set(OPTIMIZERS) and len(set(COLORS.values())) == len(COLORS)
    controllers = [name for name in names() if name != "neutral"]
    assert len({dash_of(name) for name in controllers}) == len(controllers)
    assert dash_of("neutral") == dash_of("") == "solid" not in map(dash_of, controllers)


def test_a_method_looks_the_same_everywhere_and_when_others_are_added():
    few = FunctionSettings(optimizers=("adam",), controllers=("ppo",), iterations=5).run()
    many = FunctionSettings(optimizers=("gd", "lion", "adam"), controllers=("cosine", "ppo"), iterations=5).run()
    expected = {"Adam": (color_of("adam"), "solid"), "Adam + ppo": (color_of("adam"), dash_of("ppo"))}
    for race in (few, many):
        over = landscape(race, view="contour", log=True, colors="cividis")
        for picture in (over, curves(race)):
            assert expected.items() <= looks(picture).items()
    settings = TrainingSettings(task="wine", optimizer="adam", steps=5, controllers=("ppo", "neutral"))
    assert looks(loss_picture([Trial(settings, list(train(settings)))])) == expected


def test_chosen_methods_stand_out():
    race = FunctionSettings(optimizers=("gd", "adam", "lion"), iterations=5).run()
    for picture in (curves(race, chosen=["Adam"]), landscape(race, view="contour", log=True, colors="cividis",
                                                             chosen=["Adam"])):  # fmt: skip
        lines = [*picture.panels[0].layers, *(picture.panels[0].frames or [()])[-1]]
        own = {line.label: line for line in lines if getattr(line, "label", "") in race.labels}
        assert own["Adam"].opacity == 1.0 > 2 * own["GD"].opacity and own["Adam"].width > own["GD"].width


def test_runs_kept_from_before_say_what_differs_and_are_paler():
    now = TrainingSettings(task="wine", steps=5, controllers=("neutral",))
    other = TrainingSettings(task="wine", steps=5, controllers=("neutral",), lr=0.01, seed=4)
    trials = [Trial(s, list(train(s)), kept=s is not now) for s in (other, now, now)]
    named = list(labels(trials).values())
    assert named == ["AdamW, lr 0.01, seed 4", "AdamW", "AdamW (3)"]
    first, *_, last = loss_picture([trials[0], trials[1]]).panels[0].layers
    assert first.opacity < last.opacity and first.color == last.color
