"""The words of the pages in Russian; what is missing here stays English."""

PAGES: dict[str, str] = {
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
    "Every controller steers a run of its own: the same weights, data and minibatches for all.":
        "Каждый контроллер ведёт свой запуск: веса, данные и мини-пакеты у всех одинаковые.",
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
    "Press Run. The runs go on in the background, and the page stays yours meanwhile.":
        "Нажмите «Запустить». Обучение пойдёт в фоне, а страница останется в вашем распоряжении.",
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
    "Tolerance (loss that counts as arrived)": "Допуск (потеря, при которой цель достигнута)",
    "Training": "Обучение",
    "View": "Вид",
    "What a controller is for: a flat line, whatever rate was asked for.":
        "Зачем нужен контроллер: ровная линия, какую бы скорость ни задали.",
    "When to use": "Когда применять",
    "Winner": "Победитель",
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
    "done": "готово",
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
    "steps to tolerance": "шагов до допуска",
    "stopped at {percent} % of the steps": "остановлено на {percent} % шагов",
    "surface": "поверхность",
    "trajectories": "траектории",
    "validation loss": "потеря на проверке",
    "waiting for other people's runs to end": "ждёт, пока закончатся запуски других",
    "what became of it": "что с ним стало",
    "worst loss": "худшая потеря",
    "worst over best": "худшая к лучшей",
    "“neutral” is the base optimizer alone.": "«neutral» — это базовый оптимизатор сам по себе.",
}  # fmt: skip

SENTENCES: dict[str, str] = {
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

OPTIONS: dict[str, str] = {
    "added to the denominator; large values make steps like SGD's":
        "прибавляется к знаменателю; при больших значениях шаги как у SGD",
    "clips the gradient's norm; 0 leaves it": "ограничивает норму градиента; 0 не трогает её",
    "length of a step in units of the weights' norm": "длина шага в долях нормы весов",
    "adds decay times w to the gradient": "прибавляет к градиенту веса с этим множителем",
    "decay of the average of Hessian diagonals": "затухание среднего диагоналей гессиана",
    "decay of the average of corrected gradients": "затухание среднего исправленных градиентов",
    "decay of the average of gradient differences": "затухание среднего разностей градиентов",
    "decay of the average of gradients": "затухание среднего градиентов",
    "decay of the average of squared gradients": "затухание среднего квадратов градиента",
    "decay of the average of squares": "затухание среднего квадратов",
    "decay of the average of their squares": "затухание среднего их квадратов",
    "decay of the momentum": "затухание импульса",
    "divides by the standard deviation instead of the root mean square":
        "делит на стандартное отклонение вместо среднего квадратичного",
    "first estimate of the distance": "первая оценка расстояния",
    "holds the gradient back as it enters the momentum": "ослабляет градиент на входе в импульс",
    "how slowly beta1 warms up": "как медленно растёт beta1",
    "largest entry of a step before the learning rate": "наибольшая координата шага до умножения на скорость",
    "learning rate: the length of a step": "скорость обучения: длина шага",
    "leaves out coordinates where step and gradient disagree": "пропускает координаты, где шаг и градиент не согласны",
    "looks ahead along the momentum": "смотрит вперёд по импульсу",
    "looks ahead along the momentum; without dampening": "смотрит вперёд по импульсу; без dampening",
    "multiplies the distance it estimates": "умножает оценку расстояния",
    "of those directions": "распределение этих направлений",
    "pulls the weights towards 0, apart from the gradient": "тянет веса к нулю отдельно от градиента",
    "random directions for each look": "случайных направлений на каждый взгляд",
    "share of the last step that is kept": "доля прошлого шага, которая остаётся",
    "shrinks the rate as 1 / (1 + decay t)": "уменьшает скорость как 1 / (1 + decay t)",
    "steps between two looks at the curvature": "шагов между взглядами на кривизну",
    "strength of the correction by the last gradient": "сила поправки на прошлый градиент",
    "weight of the momentum in the step": "вес импульса в шаге",
    "what the corrected gradient is handed to": "кому передаётся исправленный градиент",
    "what the sum of squares starts from": "с чего начинается сумма квадратов",
}  # fmt: skip

REFERENCE: dict[str, str] = {
    "a function of two variables": "функция двух переменных",
    "a valley ten times steeper across than along: the rate that suits one is wrong for the other":
        "долина, поперёк в десять раз круче, чем вдоль: скорость, годная для одного, не годится для другого",
    "a bowl full of dips, about a hundred local minima": "чаша, полная ямок: около сотни локальных минимумов",
    "a curved valley with steep sides and a nearly flat floor":
        "изогнутая долина с крутыми склонами и почти ровным дном",
    "four minima of equal depth: which one is reached depends on the path":
        "четыре минимума равной глубины: который достигнут, зависит от пути",
    "a flat, rippled plain around one deep hole with a sharp tip":
        "ровная рябая равнина вокруг одной глубокой ямы с острым дном",
    "waves as deep as the bowl they lie on is high": "волны той же величины, что и чаша, на которой они лежат",
    "the best minimum lies in a corner, far from the next best": "лучший минимум лежит в углу, далеко от второго",
    "parallel trenches across the way to the minimum": "параллельные рвы поперёк пути к минимуму",
    "flat in the middle, cliffs at the corners": "ровно посередине, обрывы по углам",
    "multiplies the learning rate": "умножает скорость обучения",
    "gradient-norm threshold over its reference": "порог нормы градиента в долях опорной",
    "multiplies the update and the momentum it carries on by 1 - dampen":
        "умножает шаг и импульс, который он несёт дальше, на 1 - dampen",
    "moves momentum, or beta1, along log(1 - momentum)": "сдвигает momentum или beta1 вдоль log(1 - momentum)",
    "moves beta2, or the squared average's decay, along log(1 - beta2)":
        "сдвигает beta2, или затухание среднего квадратов, вдоль log(1 - beta2)",
    "multiplies weight decay, at most tenfold either way": "умножает weight decay, не больше чем в десять раз",
    "share of the budget spent; -1 where the budget is unknown": "доля потраченного бюджета; -1, если он неизвестен",
    "log10 of the budget in inner steps, over 5; -1 where unknown":
        "log10 бюджета во внутренних шагах, делённый на 5; -1, если неизвестен",
    "loss decrease of this interval over that of the run so far": "убыль потери за промежуток к убыли за весь запуск",
    "loss decrease of this interval over its own noise": "убыль потери за промежуток к её собственному шуму",
    "how far the loss stands above its best, in units of the decrease so far":
        "насколько потеря выше лучшей, в единицах достигнутой убыли",
    "log10 of the minibatch noise over the decrease so far": "log10 шума мини-пакетов к достигнутой убыли",
    "log10 of the interval's displacement over the weights' norm": "log10 перемещения за промежуток к норме весов",
    "cosine of this interval's displacement and the last": "косинус между этим перемещением и прошлым",
    "cosine of this gradient and the last": "косинус между этим градиентом и прошлым",
    "cosine of this gradient and minus the displacement: still downhill?":
        "косинус между градиентом и обратным перемещением: всё ещё вниз?",
    "log10 of the gradient's norm over its first": "log10 нормы градиента к первой",
    "log10 of the scale in force over the scale the run began with": "log10 действующего scale к начальному",
    "decrease of the log loss; telescopes to the final loss": "убыль логарифма потери; складывается в итоговую потерю",
    "decrease of the log loss, with less and less weight on every further nat":
        "убыль логарифма потери, где каждый следующий нат весит всё меньше",
    "decrease of the loss in units of the first": "убыль потери в долях первой",
    "pays only for beating the best loss so far": "платит только за новую лучшую потерю",
    "pays once, at the end of the budget": "платит один раз, в конце бюджета",
    "pays for being low all along": "платит за то, что потеря низка всё время",
    "pays for being better than the uncontrolled twin": "платит за превосходство над двойником без управления",
}  # fmt: skip

RUSSIAN: dict[str, str] = {**PAGES, **SENTENCES, **PRESETS, **OPTIONS, **REFERENCE}
