"""The words of the reference, and of the optimizers' options, in Russian."""

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

OPTIMIZERS: dict[str, str] = {
    "gradient descent: straight down the gradient": "градиентный спуск: прямо против градиента",
    "as the yardstick; on smooth, well-conditioned losses": "как мерило; на гладких, хорошо обусловленных потерях",
    "gradient descent with momentum, a ball that rolls": "градиентный спуск с импульсом: катящийся шар",
    "with a tuned rate and schedule, above all on vision models":
        "с подобранной скоростью и расписанием, прежде всего для моделей зрения",
    "steps in units of each weight's recent gradient size": "шаги в единицах недавнего градиента каждого веса",
    "on losses whose scale differs among weights or drifts, as in recurrent nets":
        "когда масштаб потери у весов разный или плывёт, как в рекуррентных сетях",
    "steps that shrink with the sum of all squared gradients": "шаги убывают с суммой квадратов всех градиентов",
    "on sparse features; its rate only ever falls": "на разреженных признаках; его скорость только падает",
    "momentum over the root mean square of the gradient": "импульс, делённый на среднее квадратичное градиента",
    "as the first try almost everywhere": "почти везде как первая попытка",
    "Adam whose denominator never shrinks": "Adam, знаменатель которого не убывает",
    "where Adam's steps grow again late in training": "когда шаги Adam снова растут к концу обучения",
    "Adam with weight decay apart from the gradient": "Adam, где веса затухают отдельно от градиента",
    "as the standard for transformers, with warm-up and cosine":
        "как стандарт для трансформеров, с разогревом и косинусом",
    "Adam that looks ahead along its momentum": "Adam, который смотрит вперёд по импульсу",
    "in Adam's place at no cost; strong where rates are tuned":
        "вместо Adam, бесплатно; силён, когда скорость подобрана",
    "momentum over the Hessian's diagonal, each entry clipped":
        "импульс, делённый на диагональ гессиана, с ограничением каждой координаты",
    "on large language models, where a look at the curvature every few steps pays":
        "на больших языковых моделях, где взгляд на кривизну раз в несколько шагов окупается",
    "the sign of a momentum: every weight moves by the same length":
        "знак импульса: каждый вес сдвигается на одну и ту же длину",
    "with a third of Adam's rate and large batches; half of Adam's memory":
        "с третью скорости Adam и большими пакетами; памяти вдвое меньше, чем у Adam",
    "momentum whose step is a share of each layer's norm": "импульс, шаг которого — доля нормы каждого слоя",
    "on very large batches; near w = 0 its steps vanish": "на очень больших пакетах; около w = 0 его шаги исчезают",
    "Adam with Nesterov's look ahead, from differences of gradients":
        "Adam со взглядом вперёд по Нестерову, по разностям градиентов",
    "on transformers and vision models with large rates": "на трансформерах и моделях зрения с большой скоростью",
    "Adam on gradients with their variance reduced": "Adam на градиентах с уменьшенной дисперсией",
    "on language models with noisy gradients": "на языковых моделях с шумными градиентами",
    "Adam that estimates its own rate from the distance travelled":
        "Adam, который сам оценивает скорость по пройденному расстоянию",
    "where no rate is known; leave lr at 1": "когда скорость неизвестна; lr оставьте равным 1",
    "three dips in one valley, walls that rise with the sixth power":
        "три ямки в одной долине, стены растут как шестая степень",
    "a plain bowl, tilted: neither coordinate can be moved alone":
        "простая чаша, наклонённая: координаты нельзя двигать по одной",
    "two best minima among six, with saddles between them": "два лучших минимума из шести, между ними сёдла",
    "four wells of different depth, one in each corner": "четыре колодца разной глубины, по одному в углу",
    "a flat cross between walls a million times as high": "плоский крест между стенами в миллион раз выше",
    "one narrow hole in a plain without a slope": "одна узкая ямка на равнине без уклона",
}  # fmt: skip
