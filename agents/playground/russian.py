"""The words of the pages in Russian; what is missing here stays English."""

from agents.playground.russian_reference import OPTIMIZERS, OPTIONS, REFERENCE

PAGES: dict[str, str] = {
    "A **controller** watches a run and turns the optimizer's learning rate and other knobs while it goes on.":
        "**Контроллер** следит за обучением и по ходу дела меняет скорость оптимизатора и другие регуляторы.",
    "In every figure the colour is the optimizer; a dashed line is the same optimizer under a controller.":
        "На всех рисунках цвет — это оптимизатор; прерывистая линия — тот же оптимизатор под контроллером.",
    "A file that agents.load reads, to steer runs of your own.":
        "Файл, который читает agents.load, — чтобы вести собственное обучение.",
    "A real network's loss around the paths of its weights": "Потеря настоящей сети вокруг путей её весов",
    "Download the controller": "Скачать контроллер",
    "Forget the kept runs": "Забыть отложенные запуски",
    "Formula of x and y": "Формула от x и y",
    "Formulas, code and what is drawn from docstrings are in English.":
        "Формулы, код и то, что взято из описаний в коде, — на английском.",
    ("Here one learns by trial and error (PPO, a method of reinforcement learning). In every rollout it steers forty"
     " runs or so of the task, and is paid for how far the loss falls; then eight runs that it never learns from "
     "judge it."):
        "Здесь контроллер учится методом проб и ошибок (PPO, обучение с подкреплением). В каждом раунде он ведёт "
        "около сорока запусков задачи и получает награду за то, насколько упала потеря; затем его проверяют восемь "
        "запусков, на которых он не учится.",
    "Highlight": "Выделить",
    "It turns no knob: this is the base optimizer as it is.":
        "Он ничего не регулирует: это базовый оптимизатор как есть.",
    "Keep these runs to compare": "Отложить эти запуски для сравнения",
    "Loss around a path": "Потеря вокруг пути",
    "Lowest final loss": "Наименьшая итоговая потеря",
    "Rollouts": "Раунды",
    "The first points appear when the untrained policy has been judged.":
        "Первые точки появятся, когда будет проверен необученный контроллер.",
    ("The plane through the paths, from the principal components of all weights on the way; it holds {share} % of "
     "their spread. Each path is projected onto it, so its loss can differ from the one drawn below it."):
        "Плоскость через пути — по главным компонентам всех весов по дороге; в ней {share} % их разброса. Пути "
        "спроецированы на неё, поэтому потеря на пути может отличаться от нарисованной под ним.",
    "They stay in the figure and the table when other settings are run.":
        "Они останутся на рисунке и в таблице, когда запустят другие настройки.",
    "Tolerance: a loss this small counts as arrived": "Допуск: при такой потере цель достигнута",
    "Train a controller": "Обучить контроллер",
    "Upload": "Выбрать файл",
    "What the controller sets its knobs to in one run, after its last rollout; a line for each group.":
        "Как контроллер ставит регуляторы в одном запуске после последнего раунда; линия на каждую группу.",
    "What {method} sets its knobs to, a line for each parameter group.":
        "Как {method} ставит регуляторы, линия на каждую группу параметров.",
    "With + - * / ^ ( ) | |, pi and e, sin cos tan exp log sqrt abs tanh sinh cosh atan sign.":
        "Знаки + - * / ^ ( ) | |, числа pi и e, функции sin cos tan exp log sqrt abs tanh sinh cosh atan sign.",
    "first principal component of the weights": "первая главная компонента весов",
    "iterations until loss ≤ {tolerance}": "итераций до потери ≤ {tolerance}",
    "log10(loss)": "log10(потеря)",
    "mean return (nats)": "средняя награда (наты)",
    "return (nats)": "награда (наты)",
    "rollout": "раунд",
    "rollouts": "раундов",
    "run": "запуск",
    "second principal component": "вторая главная компонента",
    "what happened": "что произошло",
    "your own formula": "своя формула",
    "A parameter group is": "Группа параметров — это",
    "Added to every coordinate of the gradient: the same noise for all methods.":
        "Прибавляется к каждой координате градиента: один и тот же шум для всех методов.",
    "Base learning rate": "Базовая скорость обучения",
    "Base optimizer": "Базовый оптимизатор",
    "Colour map": "Цветовая шкала",
    "Controllers": "Контроллеры",
    "Controllers on top of each": "Контроллеры поверх каждого",
    "Controllers on training runs": "Контроллеры в обучении",
    "Drawn from the code's own rows and docstrings as it runs here.":
        "Составлено из таблиц и описаний самого кода, который здесь работает.",
    "Each optimizer runs alone, and under each of these.": "Каждый оптимизатор идёт сам по себе и под каждым из них.",
    "Every method diverged: try lower learning rates.": "Все методы разошлись: попробуйте скорость обучения поменьше.",
    "Export": "Сохранить",
    "Features": "Признаки",
    "Final loss by base learning rate": "Итоговая потеря в зависимости от базовой скорости обучения",
    "Find": "Найти",
    "Formula": "Формула",
    "Function": "Функция",
    "Functions": "Функции",
    "Gradient noise (standard deviation, loss / distance)":
        "Шум градиента (стандартное отклонение, потеря / расстояние)",
    "Greatest learning rate": "Наибольшая скорость обучения",
    "Heights and colours": "Высоты и цвета",
    "Inner steps": "Внутренние шаги",
    "Iterations": "Итерации",
    "Knobs": "Регуляторы",
    "Knobs of": "Регуляторы контроллера",
    "L1 penalty: weight of |x| + |y|": "Штраф L1: вес при |x| + |y|",
    "L2 penalty: weight of (x² + y²) / 2": "Штраф L2: вес при (x² + y²) / 2",
    "Learning rate": "Скорость обучения",
    "Least learning rate": "Наименьшая скорость обучения",
    "Link to these settings:": "Ссылка на эти настройки:",
    "Look": "Вид рисунка",
    "Member of the family": "Член семейства",
    "Noise and penalties": "Шум и штрафы",
    "Nothing has that name.": "Ничего с таким именем нет.",
    "Number of rates": "Число скоростей",
    "Numbers, picture or page of what is shown here, each with the settings that reproduce it.":
        "Числа, рисунок или страница с тем, что показано здесь, — каждый файл вместе с настройками.",
    "Of the random start, the noise, and what Sophia draws.":
        "Для случайного начала, шума и случайных направлений Sophia.",
    "Optimizers": "Оптимизаторы",
    "Optimizers and controllers on test functions": "Оптимизаторы и контроллеры на тестовых функциях",
    "Options": "Параметры",
    "Pause": "Пауза",
    "Play": "Пуск",
    "Preset": "Готовый пример",
    "Random start": "Случайное начало",
    "Reference": "Справочник",
    "Rewards": "Награды",
    "Run": "Запустить",
    "Running": "Считаю",
    "Runs at each rate": "Запусков на каждую скорость",
    "Section": "Раздел",
    "Seed": "Зерно случайности",
    "Sets everything below, and runs.": "Задаёт всё, что ниже, и запускает.",
    "Settings from a file": "Настройки из файла",
    "Source": "Источник",
    "Start x": "Начало, x",
    "Start y": "Начало, y",
    "Stop": "Остановить",
    "Task": "Задача",
    "That did not work:": "Не получилось:",
    "The first curve appears when the first method is through.":
        "Первая кривая появится, когда закончит первый контроллер.",
    "The settings have changed: press Run to see what they do.":
        "Настройки изменились: нажмите «Запустить», чтобы увидеть, что они дают.",
    "Training": "Обучение",
    "View": "Вид",
    "What a controller is for: a flat line, whatever rate was asked for.":
        "Зачем нужен контроллер: ровная линия, какую бы скорость ни задали.",
    "When to use": "Когда применять",
    "With a penalty every method runs twice, with it and without.":
        "Со штрафом каждый метод идёт дважды: с ним и без него.",
    "at learning rate": "при скорости обучения",
    "base learning rate": "базовая скорость обучения",
    "best loss": "лучшая потеря",
    "choose": "выберите",
    "contour": "линии уровня",
    "controller": "контроллер",
    "distance to the nearest minimum": "расстояние до ближайшего минимума",
    "diverged": "разошёлся",
    "diverged at iteration {at}": "разошёлся на итерации {at}",
    "diverges": "расходится",
    "failed at {percent} % of the steps": "ошибка на {percent} % шагов",
    "final loss": "итоговая потеря",
    "final validation loss": "итоговая потеря на проверке",
    "gradient norm (loss / distance)": "норма градиента (потеря / расстояние)",
    "group": "группа",
    "inner step": "внутренний шаг",
    "iteration": "итерация",
    "× base rate": "× базовая скорость",
    "× reference": "× опорная норма",
    "fraction": "доля",
    "layer": "слой",
    "leaves the view": "уходит из вида",
    "left the view at iteration {at}": "ушёл из вида на итерации {at}",
    "left the view at iteration {at} and came back": "ушёл из вида на итерации {at} и вернулся",
    "linear": "линейно",
    "log": "логарифм",
    "log10(1 + loss)": "log10(1 + потеря)",
    "loss": "потеря",
    "loss and gradient norm": "потеря и норма градиента",
    "method": "метод",
    "minima": "минимумы",
    "minimum": "минимум",
    "model": "модель",
    "running: {percent} % of the steps": "идёт: {percent} % шагов",
    "start": "начало",
    "stayed in view": "остался в поле зрения",
    "stopped at {percent} % of the steps": "остановлено на {percent} % шагов",
    "surface": "поверхность",
    "trajectories": "траектории",
    "validation loss": "потеря на проверке",
    "waiting for other people's runs to end": "ждёт, пока закончатся запуски других",
    "worst loss": "худшая потеря",
    "worst over best": "худшая к лучшей",
    "“neutral” is the base optimizer alone.": "«neutral» — это базовый оптимизатор сам по себе.",
}  # fmt: skip

SENTENCES: dict[str, str] = {
    "A controller needs something to turn: choose at least one knob.":
        "Контроллеру нужно что-то регулировать: выберите хотя бы один регулятор.",
    "Formula, character {place}: {token!r} does not fit here; expected {what}":
        "Формула, знак {place}: {token!r} здесь не подходит; нужно {what}",
    "The domain's lower ends have to be below its upper ends; received {value}":
        "Нижние границы области должны быть меньше верхних; получено {value}",
    "The formula has more than {most} brackets within brackets.": "В формуле больше {most} вложенных скобок.",
    "The formula ends too early: expected {what}": "Формула обрывается: нужно {what}",
    "The formula has {count} characters; {most} are the most.": "В формуле {count} знаков; можно не больше {most}.",
    "The formula is nowhere in the domain a finite number.": "Формула нигде в области не даёт конечного числа.",
    "The number of inner steps, {steps}, has to be a multiple of {decisions}.":
        "Число внутренних шагов, {steps}, должно делиться на {decisions}.",
    "{kind}: expected a text; received {value!r}": "{kind}: нужен текст; получено {value!r}",
    "{kind}: expected four numbers; received {value!r}": "{kind}: нужны четыре числа; получено {value!r}",
    "{name}: expected a number from {low:g} to {high:g}; received {value!r}":
        "{name}: нужно число от {low:g} до {high:g}; получено {value!r}",
    "{name}: expected a whole number from {low} to {high}; received {value!r}":
        "{name}: нужно целое число от {low} до {high}; получено {value!r}",
    "{kind}: expected at most {most} names; received {value!r}":
        "{kind}: нужно не больше {most} имён; получено {value!r}",
    "{kind}: expected values by name; received {value!r}": "{kind}: нужны значения по именам; получено {value!r}",
    "{kind}: expected two numbers; received {value!r}": "{kind}: нужны два числа; получено {value!r}",
    "Nothing to compare yet: choose at least one optimizer.":
        "Сравнивать пока нечего: выберите хотя бы один оптимизатор.",
    "{count} methods are more than the {most} a picture can hold: choose fewer optimizers or controllers.":
        "Методов {count}, а на рисунке помещается {most}: выберите меньше оптимизаторов или контроллеров.",
    "{task} is a family of tasks: choose a member, such as {task}:0.":
        "{task} — семейство задач: выберите его члена, например {task}:0.",
    "Nothing to run yet: choose at least one controller. “neutral” leaves the optimizer alone.":
        "Запускать пока нечего: выберите хотя бы один контроллер. «neutral» не трогает оптимизатор.",
    "The least learning rate, {low:g}, has to be below the greatest, {high:g}.":
        "Наименьшая скорость обучения, {low:g}, должна быть меньше наибольшей, {high:g}.",
    "These are no settings of the playground.": "Это не настройки этих страниц.",
    "The settings hold {name!r}, which this page does not have.":
        "В настройках есть {name!r}, а на этой странице такого нет.",
    "These settings cannot be read: {error}.": "Эти настройки не читаются: {error}.",
    "This link is damaged; its settings cannot be read.": "Ссылка повреждена: настройки из неё не читаются.",
    "This file is no JSON; its settings cannot be read.": "Это не файл JSON: настройки из него не читаются.",
}  # fmt: skip

PRESETS: dict[str, str] = {
    "With and without a controller": "С контроллером и без него",
    "The dashed paths are the same optimizers under “ppo”, trained on small networks, not on this.":
        "Прерывистые пути — те же оптимизаторы под «ppo», обученным на маленьких сетях, а не на этом.",
    "Four minima": "Четыре минимума",
    "Himmelblau's function has four: where a method ends depends on how it moves, not on the start alone.":
        "У функции Химмельблау их четыре: где метод закончит, зависит не только от начала, но и от того, как он идёт.",
    "Long valley": "Длинная долина",
    "In a valley with one steep and one flat side the rate that is safe for one is slow for the other.":
        "В долине, крутой в одну сторону и пологой в другую, безопасная для одной скорость медленна для другой.",
    "Curved valley, all twelve": "Изогнутая долина, все двенадцать",
    "Rosenbrock's valley is easy to find and hard to follow.": "Долину Розенброка легко найти и трудно пройти.",
    "Many local minima": "Много локальных минимумов",
    "Rastrigin's function holds small steps in the nearest dip; momentum and noise carry some of them on.":
        "Функция Растригина удерживает малые шаги в ближайшей ямке; импульс и шум выносят некоторых дальше.",
    "Too high a rate": "Слишком высокая скорость",
    "Above 0.1 gradient descent diverges here, and is shown so; a controller with its own first step does not.":
        "Выше 0.1 градиентный спуск здесь расходится, и это видно; контроллер, который сам находит первый шаг, — нет.",
    "Too low a rate": "Слишком низкая скорость",
    "At a rate a hundred times too low Adam hardly moves; a controller that may raise it does.":
        "При скорости в сто раз меньше нужной Adam почти стоит; контроллер, которому это позволено, её поднимает.",
    "L2 against none": "L2 и без штрафа",
    "A penalty on the weights moves the minimum towards 0: each method runs with and without it.":
        "Штраф на веса сдвигает минимум к нулю: каждый метод идёт с ним и без него.",
    "Noise": "Шум",
    "The same noise for all: averages of the gradient help, and a rate that falls helps more.":
        "Шум у всех один: усреднение градиента помогает, а убывающая скорость помогает больше.",
}  # fmt: skip

RUSSIAN: dict[str, str] = {**PAGES, **SENTENCES, **PRESETS, **OPTIONS, **REFERENCE, **OPTIMIZERS}
