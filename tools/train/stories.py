"""Stories, poems, letters and paragraphs made from templates with slots. All templates are our own."""

from facts import ANIMALS, NAMES

HEROES = """baker|old sailor|young girl|small boy|farmer|painter|clockmaker|gardener|tailor|fisherman|shepherd|teacher
musician|miller|librarian|little robot|lonely giant|young dragon|brave knight|quiet princess|poor student|lighthouse keeper
carpenter|postman|beekeeper|wandering poet|night watchman|kind witch|clever thief|tired king|curious child|ship's cook
"""
PLACES = """a small village by the sea|a town in the mountains|a forest full of tall trees|a city with a hundred towers
a house at the edge of a wood|a valley between two hills|an island far from the coast|a castle on a rock|a quiet harbour
a street with old lamps|a farm near the river|a tower above the clouds|a cottage beside a lake|a village under the snow
"""
THINGS = """a golden key|an old map|a silver bell|a small lamp|a blue stone|a broken clock|a letter without a name
a wooden flute|a book with empty pages|a red umbrella|a box that would not open|a tiny seed|a mirror|a warm coat
a paper boat|a song that nobody knew|a coin with a hole|a white feather|a loaf of bread|a lantern
"""
WISHES = """to see the sea|to find a friend|to learn to sing|to go on a long journey|to help the people of the town
to build a bridge|to find the way home|to know what lay behind the hills|to hear music again|to touch the moon
to read every book in the world|to bring back the summer|to make the king laugh|to be brave|to fly
"""
TROUBLES = """a great storm came up|the river rose and took the bridge away|the road was lost in thick fog
the winter came early|nobody believed a word of it|a wolf stood in the way|the night was darker than ever before
the money was gone|the door was locked|the people were afraid|a fire broke out|the map was wrong|all the lamps went out
"""
HELPS = """a {animal} came and showed the way|an old woman gave good advice|the neighbours came to help
a stranger shared a piece of bread|a {animal} asked a clever question|the moon came out from behind the clouds
a child had a simple idea|the wind carried a voice from far away|a {animal} that had been saved long ago came back
"""
LESSONS = """that a small light is enough|that it is better to ask than to guess|that a friend is worth more than gold
that every road begins with one step|that patience opens many doors|that kindness comes back|that home is where you are missed
that even the smallest one can help|that it is never too late to learn|that brave people are also afraid
that one should listen before one speaks|that the best things are shared
"""
ENDINGS = """And from that day on, nobody in the village was afraid of the dark.|And they lived happily for many years.
And if you go there today, you can still hear the bell.|And that evening there was music in every house.
And the two of them stayed friends for the rest of their lives.|And the next morning the sun shone as if nothing had happened.
And so the {hero} went home and slept well.|And people still tell this story when the nights are long.
And in spring the first flowers grew on that very spot.|And the {hero} never forgot it.
"""
ADJECTIVES = (
    "quiet soft bright cold warm deep old slow gentle silver golden pale still wide blue grey green small".split()
)
FEELINGS = "happy sad proud curious afraid hopeful lonely tired glad calm nervous brave".split()

POEM_TOPICS = {
    "the sea": [
        "The sea is {a} beneath the sky",
        "The waves roll in, the gulls fly by",
        "A boat goes out, a boat comes home",
        "And leaves a trail of light and foam",
        "The wind is {a}, the sand is {b}",
        "The tide comes softly to the land",
    ],
    "the moon": [
        "The moon is {a} above the hill",
        "The fields are dark, the trees are still",
        "She walks across the sky so slow",
        "And lights the {b} world below",
        "She says no word, she makes no sound",
        "Her silver falls upon the ground",
    ],
    "autumn": [
        "The leaves are gold, the air is {a}",
        "The year has grown both wise and old",
        "The wind goes singing through the tree",
        "And sets the {b} leaves all free",
        "The evenings come with lamp and tea",
        "And there is time for you and me",
    ],
    "winter": [
        "The snow lies {a} on field and stone",
        "The river sleeps, the birds have flown",
        "The windows glow with yellow light",
        "Through all the {b} winter night",
        "The fire hums, the kettle sings",
        "And we talk of simple things",
    ],
    "spring": [
        "The snow is gone, the grass is {a}",
        "The {b}est day that I have seen",
        "A blackbird sings upon the wall",
        "And flowers open, great and small",
        "The rain is {a}, the sun is near",
        "And spring at last, at last is here",
    ],
    "rain": [
        "The rain falls {a} upon the town",
        "It taps the roofs and trickles down",
        "It fills the street, it fills the stream",
        "And makes the {b} windows gleam",
        "I sit inside and hear it play",
        "Its {a} music all the day",
    ],
    "a cat": [
        "My cat is {a}, my cat is wise",
        "She has two {b} shining eyes",
        "She sleeps all day upon my chair",
        "And does not know of any care",
        "At night she walks along the wall",
        "And hears the smallest footstep fall",
    ],
    "a friend": [
        "A friend is {a} when days are long",
        "A friend will hum your favourite song",
        "A friend will sit and hear you through",
        "And tell you {b} things and true",
        "When all the road ahead is steep",
        "A friend has promises to keep",
    ],
    "the night": [
        "The night is {a}, the stars are clear",
        "The only sound is far and near",
        "An owl calls out across the lake",
        "And only we two are awake",
        "The dark is {b}, the dark is wide",
        "With all the sleeping world inside",
    ],
    "a tree": [
        "A tree stands {a} beside the lane",
        "It knows the sun, it knows the rain",
        "It holds a nest, it holds a swing",
        "And waits each year for early spring",
        "Its roots go {b}, its leaves go high",
        "Between the meadow and the sky",
    ],
    "home": [
        "There is a {a} lamp in the hall",
        "A row of coats upon the wall",
        "A chair, a cup, an open door",
        "And {b} light across the floor",
        "However far the road may go",
        "It ends at last in what I know",
    ],
    "computers": [
        "A {a} hum, a {b} light",
        "It counts and counts through all the night",
        "It knows no sleep, it feels no rain",
        "It does its sums and starts again",
        "And token after token flows",
        "And where they come from, no one knows",
    ],
}

HAIKUS = """Old pond in the dusk / a frog looks up at the moon / and the moon looks back
The first snow tonight / my footprints follow me home / and then disappear
A cup of warm tea / the window full of grey rain / nowhere I must go
Wind in the tall grass / a whole field bows to the hill / nobody is there
Morning on the lake / one small boat and its silence / draw a line of light
The last yellow leaf / lets go without any sound / autumn takes a breath
Late train, empty seat / the city runs past the glass / carrying its lamps
A cat on the wall / between the sun and the shade / she does not decide
Night over the sea / the lighthouse counts its seconds / ships answer with lamps
Small seed in the dark / it does not know of the spring / still it turns upward
Layer by layer / a long prompt climbs through the net / the others still flow
One expert awake / the router knocks at his door / a token steps in
"""


def words(text):
    return [part.strip() for line in text.strip().splitlines() for part in line.split("|")]


HEROES, PLACES, THINGS, WISHES, TROUBLES, HELPS, LESSONS, ENDINGS = map(
    words, (HEROES, PLACES, THINGS, WISHES, TROUBLES, HELPS, LESSONS, ENDINGS)
)
HAIKUS = [line.split(" / ") for line in HAIKUS.strip().splitlines()]


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def upper(text):
    return text[0].upper() + text[1:]


def story(rng, hero=None, length=None):
    """A short story; `hero` is a bare noun such as `fox`."""
    hero = hero or (rng.choice(HEROES) if rng.random() < 0.7 else rng.choice(ANIMALS)[0])
    animal = rng.choice([row[0] for row in ANIMALS if row[0] != hero])
    name = rng.choice(NAMES)
    place, thing, wish = rng.choice(PLACES), rng.choice(THINGS), rng.choice(WISHES)
    trouble, lesson = rng.choice(TROUBLES), rng.choice(LESSONS)
    help_ = rng.choice(HELPS).format(animal=animal)
    ending = rng.choice(ENDINGS).format(hero=hero)
    named = rng.random() < 0.6
    who = name if named else f"the {hero}"
    opening = rng.choice(
        [
            f"Once upon a time there was {article(hero)}{' called ' + name if named else ''} who lived in {place}.",
            f"In {place} there lived {article(hero)}{' whose name was ' + name if named else ''}.",
            f"Long ago, {article(hero)}{' named ' + name if named else ''} lived in {place}.",
            f"There was once {article(hero)} in {place}{', and everyone called the ' + hero + ' ' + name if named else ''}.",
        ]
    )
    wish_line = rng.choice(
        [
            f"More than anything {who} wanted {wish}.",
            f"Every evening {who} sat by the window and dreamed. The dream was always the same: {wish}.",
            f"{upper(who)} had only one wish, and that was {wish}.",
        ]
    )
    found = rng.choice(
        [
            f"One morning {who} found {thing} and knew that it was time to go.",
            f"One day {who} found {thing} on the doorstep.",
            f"Then, on a {rng.choice(ADJECTIVES)} morning, there was {thing} lying in the grass.",
            f"One night a stranger came to the door and left {thing} behind.",
        ]
    )
    hard = rng.choice(
        [
            f"But on the way {trouble}, and {who} was {rng.choice(FEELINGS)}.",
            f"But then {trouble}.",
            f"It was not easy, for {trouble}.",
            f"Everything went well until {trouble}.",
        ]
    )
    rescue = rng.choice(
        [f"Just then {help_}.", f"When all hope was gone, {help_}.", f"In the end {help_}.", f"But {help_}."]
    )
    learned = rng.choice(
        [
            f"So {who} learned {lesson}.",
            f"{upper(who)} understood {lesson}.",
            f"That is how {who} found out {lesson}.",
        ]
    )
    length = length or rng.choice(["short", "medium", "medium", "long"])
    if length == "short":
        return " ".join([opening, hard, rescue, learned])
    if length == "medium":
        return " ".join([opening, wish_line, hard, rescue, learned, ending])
    return f"{opening} {wish_line}\n\n{found} {hard} {rescue}\n\n{learned} {ending}"


def poem(rng, topic=None):
    """Two or three rhyming couplets; returns topic and text."""
    topic = topic or rng.choice(list(POEM_TOPICS))
    lines = POEM_TOPICS[topic]
    couplets = [lines[i : i + 2] for i in range(0, len(lines), 2)]
    if rng.random() < 0.3:
        couplets = couplets[:2]
    a, b = rng.sample(ADJECTIVES, 2)
    text = ",\n".join(
        ",\n".join(pair) if i + 1 < len(couplets) else f"{pair[0]},\n{pair[1]}." for i, pair in enumerate(couplets)
    )
    return topic, text.format(a=a, b=b)


def haiku(rng):
    return "\n".join(upper(line) if i == 0 else line for i, line in enumerate(rng.choice(HAIKUS)))


PARAGRAPHS = [
    # (paragraph template, summary template)
    (
        "{name} opened a small shop in {place}. At first only a few people came. But {name} was friendly and the {good} was good, "
        "so more and more people came every week. After a year there was a queue in front of the door every morning.",
        "{name} opened a shop in {place}, and after a slow start it became a success.",
    ),
    (
        "The town council met on {day} evening to talk about the {object}. Some people said that it was too expensive. Others said "
        "that the town had waited long enough. After three hours the council voted, and the {object} will be built next year.",
        "The town council decided on {day} to build the {object} next year.",
    ),
    (
        "Last {season} {name} walked from the mountains to the sea. The walk took {n} days. It rained almost every day, and the "
        "shoes were full of holes at the end. Still, {name} says that it was the best time of the year.",
        "{name} walked to the sea in {n} days, and enjoyed it in spite of the rain.",
    ),
    (
        "The library in {place} has bought {n} new books. Most of them are for children. The librarian, {name}, says that more "
        "families come every month, and that they stay longer. On {day} there will be a reading for everyone.",
        "The library bought {n} new books, mostly for children, because more families come.",
    ),
    (
        "Scientists watched a group of {animals} for {n} years. They found that older {animals} teach the younger ones where to find food. "
        "Groups without old members found less food and had fewer young. The scientists say that experience matters for {animals} too.",
        "A study of {n} years shows that older {animals} teach younger ones where to find food.",
    ),
    (
        "The train from {place} was late again on {day}. {name} waited for two hours on the cold platform. A stranger offered a cup of "
        "hot tea, and they began to talk. When the train came at last, they had become friends.",
        "{name} waited for a late train and made a friend.",
    ),
    (
        "A server for language models has to do two things. It has to read new prompts, and it has to keep writing the answers that are "
        "already running. If it reads a long prompt in one go, all answers stop. So it is better to read the prompt in parts.",
        "A server should read long prompts in parts, so that running answers do not stop.",
    ),
    (
        "{name} had never baked before. The first cake was burnt and the second was flat. But the third one, with {good} and a little "
        "lemon, was so good that the neighbours asked for more. Now {name} bakes every {day}.",
        "{name} learned to bake after two failures and now bakes every {day}.",
    ),
]
GOODS = "bread honey coffee cheese tea soup chocolate fruit".split()
OBJECTS = ["new bridge", "new school", "swimming pool", "bicycle path", "playground", "concert hall", "town library"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = "spring summer autumn winter".split()


def paragraph(rng):
    """A paragraph and its one-sentence summary."""
    slots = dict(
        name=rng.choice(NAMES),
        place=rng.choice(PLACES),
        good=rng.choice(GOODS),
        day=rng.choice(DAYS),
        object=rng.choice(OBJECTS),
        season=rng.choice(SEASONS),
        n=rng.choice("two three four five six seven ten twelve twenty".split()),
        animals=rng.choice(ANIMALS)[1],
    )
    text, summary = rng.choice(PARAGRAPHS)
    return upper(text.format(**slots)), summary.format(**slots)
