"""Tables of simple facts for the dialogue generator. All sentences are our own."""


def table(text, fields):
    """Parses lines of `a | b | c`; a line with a wrong number of fields is an error in this file."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    for row in rows:
        assert len(row) == fields, row
    return rows


# country | capital | continent | language | adjective
COUNTRIES = table(
    """
France | Paris | Europe | French | French
Germany | Berlin | Europe | German | German
Italy | Rome | Europe | Italian | Italian
Spain | Madrid | Europe | Spanish | Spanish
Portugal | Lisbon | Europe | Portuguese | Portuguese
England | London | Europe | English | English
Scotland | Edinburgh | Europe | English | Scottish
Ireland | Dublin | Europe | English and Irish | Irish
Norway | Oslo | Europe | Norwegian | Norwegian
Sweden | Stockholm | Europe | Swedish | Swedish
Finland | Helsinki | Europe | Finnish | Finnish
Denmark | Copenhagen | Europe | Danish | Danish
Iceland | Reykjavik | Europe | Icelandic | Icelandic
Poland | Warsaw | Europe | Polish | Polish
Austria | Vienna | Europe | German | Austrian
Switzerland | Bern | Europe | German, French and Italian | Swiss
Belgium | Brussels | Europe | Dutch and French | Belgian
the Netherlands | Amsterdam | Europe | Dutch | Dutch
Greece | Athens | Europe | Greek | Greek
Hungary | Budapest | Europe | Hungarian | Hungarian
Romania | Bucharest | Europe | Romanian | Romanian
Bulgaria | Sofia | Europe | Bulgarian | Bulgarian
Ukraine | Kyiv | Europe | Ukrainian | Ukrainian
Croatia | Zagreb | Europe | Croatian | Croatian
Turkey | Ankara | Asia | Turkish | Turkish
Russia | Moscow | Europe | Russian | Russian
China | Beijing | Asia | Chinese | Chinese
Japan | Tokyo | Asia | Japanese | Japanese
South Korea | Seoul | Asia | Korean | Korean
India | New Delhi | Asia | Hindi and English | Indian
Nepal | Kathmandu | Asia | Nepali | Nepali
Thailand | Bangkok | Asia | Thai | Thai
Vietnam | Hanoi | Asia | Vietnamese | Vietnamese
Indonesia | Jakarta | Asia | Indonesian | Indonesian
Iran | Tehran | Asia | Persian | Iranian
Iraq | Baghdad | Asia | Arabic | Iraqi
Saudi Arabia | Riyadh | Asia | Arabic | Saudi
Mongolia | Ulaanbaatar | Asia | Mongolian | Mongolian
Egypt | Cairo | Africa | Arabic | Egyptian
Morocco | Rabat | Africa | Arabic | Moroccan
Kenya | Nairobi | Africa | Swahili and English | Kenyan
Ethiopia | Addis Ababa | Africa | Amharic | Ethiopian
Nigeria | Abuja | Africa | English | Nigerian
Ghana | Accra | Africa | English | Ghanaian
Canada | Ottawa | North America | English and French | Canadian
Mexico | Mexico City | North America | Spanish | Mexican
Cuba | Havana | North America | Spanish | Cuban
Brazil | Brasilia | South America | Portuguese | Brazilian
Argentina | Buenos Aires | South America | Spanish | Argentine
Chile | Santiago | South America | Spanish | Chilean
Peru | Lima | South America | Spanish | Peruvian
Colombia | Bogota | South America | Spanish | Colombian
Australia | Canberra | Oceania | English | Australian
New Zealand | Wellington | Oceania | English and Maori | New Zealand
the United States | Washington | North America | English | American
""",
    5,
)

# animal | plural | young | sound | home | food | a fact
ANIMALS = table(
    """
cat | cats | a kitten | meows | in houses and on farms | meat and fish | A cat can see very well in the dark.
dog | dogs | a puppy | barks | with people | meat and dog food | A dog has a very good sense of smell.
cow | cows | a calf | moos | on farms | grass | A cow gives milk.
horse | horses | a foal | neighs | on farms and in the wild | grass and hay | A horse can sleep while it stands.
sheep | sheep | a lamb | bleats | on farms and hills | grass | A sheep gives us wool.
pig | pigs | a piglet | oinks | on farms | almost anything | A pig is a clever animal.
duck | ducks | a duckling | quacks | near ponds and lakes | water plants and insects | A duck can swim, walk and fly.
hen | hens | a chick | clucks | on farms | grain and seeds | A hen lays eggs.
lion | lions | a cub | roars | on the plains of Africa | meat | Lions live in groups called prides.
tiger | tigers | a cub | roars | in the forests of Asia | meat | Every tiger has its own pattern of stripes.
wolf | wolves | a pup | howls | in forests and mountains | meat | Wolves hunt together in packs.
bear | bears | a cub | growls | in forests and mountains | berries, fish and honey | Many bears sleep through the winter.
fox | foxes | a cub | barks | in forests and fields | mice, birds and berries | A fox has a long bushy tail.
owl | owls | an owlet | hoots | in trees and barns | mice and other small animals | An owl can turn its head very far.
frog | frogs | a tadpole | croaks | near ponds and streams | insects | A frog breathes partly through its skin.
elephant | elephants | a calf | trumpets | in Africa and Asia | leaves, grass and fruit | The elephant is the largest land animal.
mouse | mice | a pup | squeaks | in fields and houses | grain and seeds | A mouse can fit through a very small hole.
snake | snakes | a snakelet | hisses | in many warm places | mice and eggs | A snake has no legs.
bee | bees | a larva | buzzes | in hives | nectar and pollen | Bees make honey and carry pollen from flower to flower.
penguin | penguins | a chick | calls | on cold southern coasts | fish | A penguin cannot fly, but it swims very well.
whale | whales | a calf | sings | in the sea | small sea animals and fish | The blue whale is the largest animal on Earth.
dolphin | dolphins | a calf | clicks and whistles | in the sea | fish | Dolphins are mammals and breathe air.
rabbit | rabbits | a kit | is mostly quiet | in burrows | grass and leaves | A rabbit has long ears and strong back legs.
spider | spiders | a spiderling | makes no sound | in webs and quiet corners | insects | A spider has eight legs.
eagle | eagles | an eaglet | screams | in mountains and by lakes | fish and small animals | An eagle can see a mouse from far away.
camel | camels | a calf | grunts | in deserts | dry plants | A camel stores fat in its hump.
giraffe | giraffes | a calf | hums softly | on the plains of Africa | leaves from tall trees | The giraffe is the tallest animal.
monkey | monkeys | an infant | chatters | in warm forests | fruit and leaves | Monkeys are good climbers.
goat | goats | a kid | bleats | on farms and mountains | grass and leaves | A goat can climb steep rocks.
turtle | turtles | a hatchling | is mostly quiet | in water and on land | plants and small animals | A turtle carries a hard shell on its back.
octopus | octopuses | a larva | makes no sound | in the sea | crabs and shellfish | An octopus has eight arms and three hearts.
butterfly | butterflies | a caterpillar | makes no sound | in gardens and meadows | nectar from flowers | A butterfly begins its life as a caterpillar.
""",
    7,
)

# thing | colour
COLOURS = table(
    """
the sky on a clear day | blue
the sea | blue
grass | green
a leaf in spring | green
snow | white
milk | white
a banana | yellow
the sun | yellow
a lemon | yellow
a ripe tomato | red
a strawberry | red
blood | red
a cherry | red
coal | black
the night sky | black
a raven | black
an orange | orange
a carrot | orange
a pumpkin | orange
chocolate | brown
the bark of a tree | brown
an elephant | grey
a rain cloud | grey
a flamingo | pink
lavender | purple
an aubergine | purple
gold | yellow
silver | grey
emeralds | green
rubies | red
""",
    2,
)

# topic | answer ("What is X?"); an article, where needed, is part of the topic
DEFINITIONS = table(
    """
a star | A star is a huge ball of hot gas that gives off light and heat. Our sun is a star.
the sun | The sun is the star at the centre of our solar system. It gives the Earth light and warmth.
the moon | The moon is a ball of rock that travels around the Earth. It takes about a month for one trip, and it shines because it reflects the light of the sun.
the Earth | The Earth is the planet we live on. It is the third planet from the sun, and most of it is covered by water.
a planet | A planet is a large round body that travels around a star. The Earth and Mars are planets.
Mars | Mars is the fourth planet from the sun. It is called the red planet because its soil looks red.
Jupiter | Jupiter is the largest planet in our solar system. It is made mostly of gas.
a comet | A comet is a ball of ice and dust that travels around the sun. Near the sun it grows a long bright tail.
gravity | Gravity is the force that pulls things towards each other. It keeps us on the ground and keeps the moon near the Earth.
light | Light is energy that we can see. It travels faster than anything else.
sound | Sound is a vibration that travels through air, water or solid things until it reaches our ears.
electricity | Electricity is a form of energy carried by tiny charged particles. We use it for light, heat and machines.
energy | Energy is the ability to do work. It can take the form of heat, light, motion or electricity.
water | Water is a clear liquid that all living things need. It is made of hydrogen and oxygen.
ice | Ice is water that has frozen solid. Water freezes at zero degrees Celsius.
steam | Steam is water in the form of a gas. Water boils at one hundred degrees Celsius at sea level.
air | Air is the mix of gases around us. It is mostly nitrogen and oxygen.
fire | Fire is what we see when something burns. It needs fuel, heat and oxygen.
rain | Rain is water that falls from clouds in small drops.
snow | Snow is made of tiny ice crystals that fall from cold clouds.
wind | Wind is air that moves from one place to another.
a cloud | A cloud is a mass of tiny drops of water or ice that floats in the sky.
a storm | A storm is bad weather with strong wind and often with rain, thunder and lightning.
thunder | Thunder is the sound that lightning makes when it heats the air very quickly.
lightning | Lightning is a great electric spark between clouds, or between a cloud and the ground.
a rainbow | A rainbow is an arc of colours that appears when sunlight shines through drops of rain.
a river | A river is a stream of fresh water that flows towards a lake or the sea.
a lake | A lake is a large body of water with land all around it.
an island | An island is a piece of land with water on every side.
a mountain | A mountain is land that rises high above the land around it.
a volcano | A volcano is an opening in the ground where hot melted rock and gas can come out.
an earthquake | An earthquake is a shaking of the ground that happens when rocks deep in the Earth move.
a desert | A desert is a dry place where very little rain falls.
a forest | A forest is a large area with many trees. It is home to many plants and animals.
the sea | The sea is the large body of salt water that covers most of the Earth.
a tree | A tree is a tall plant with a trunk of wood. Its leaves make food from sunlight.
a flower | A flower is the part of a plant that makes seeds. Many flowers are colourful and smell sweet.
a seed | A seed is the small part of a plant from which a new plant can grow.
a bird | A bird is an animal with feathers and wings. Most birds can fly, and all birds lay eggs.
a fish | A fish is an animal that lives in water and breathes with gills.
an insect | An insect is a small animal with six legs. Ants, bees and butterflies are insects.
a mammal | A mammal is a warm-blooded animal that feeds its young with milk. Dogs, whales and people are mammals.
a dinosaur | A dinosaur was a reptile that lived many millions of years ago. Birds are their living relatives.
the heart | The heart is the muscle that pumps blood through the body.
the brain | The brain is the organ we think with. It also controls the rest of the body.
blood | Blood is the red liquid that carries oxygen and food through the body.
sleep | Sleep is a time of rest for the body and the mind. Most adults need seven to nine hours of it.
bread | Bread is a food made from flour, water and usually yeast, baked in an oven.
cheese | Cheese is a food made from milk.
tea | Tea is a drink made by pouring hot water over the leaves of the tea plant.
coffee | Coffee is a drink made from roasted coffee beans and hot water.
music | Music is sound arranged in a way that people enjoy, with rhythm and melody.
a piano | A piano is a large musical instrument with black and white keys.
a guitar | A guitar is a musical instrument with strings, usually six of them.
a poem | A poem is a piece of writing that uses rhythm, images and often rhyme.
a book | A book is a set of pages with words or pictures, bound together so that people can read them.
a library | A library is a place where people can read and borrow books.
a school | A school is a place where people go to learn.
a friend | A friend is a person you like and trust.
love | Love is a deep feeling of care for someone or something.
time | Time is what clocks measure. It moves from the past through the present to the future.
history | History is the study of what happened in the past.
science | Science is a careful way of learning about the world by watching, asking and testing.
mathematics | Mathematics is the study of numbers, shapes and patterns.
a triangle | A triangle is a shape with three sides and three corners.
a square | A square is a shape with four equal sides and four right angles.
a circle | A circle is a round shape. Every point on it is equally far from the centre.
a prime number | A prime number is a whole number above one that can be divided only by one and by itself, such as two, three, five or seven.
a computer | A computer is a machine that follows instructions and works with data very quickly.
a program | A program is a list of instructions that tells a computer what to do.
software | Software is the set of programs that run on a computer.
hardware | Hardware is the physical part of a computer, such as its processor, memory and disk.
the internet | The internet is a network that connects computers all over the world.
a server | A server is a program or a machine that answers requests from other programs over a network.
a compiler | A compiler is a program that turns source code into code that a machine can run.
an algorithm | An algorithm is a clear list of steps that solves a problem.
a bug | A bug is a mistake in a program. Programmers find bugs by testing and by reading code.
Linux | Linux is a free operating system kernel. It runs on phones, servers and many other machines.
Rust | Rust is a programming language that is fast and safe. Its compiler checks how memory is used, so many bugs never reach the user.
Python | Python is a programming language that is easy to read and popular for science and teaching.
open source | Open source software is software whose source code anyone may read, change and share.
a bicycle | A bicycle is a vehicle with two wheels that you move with your feet.
a train | A train is a row of connected wagons that runs on rails.
an aeroplane | An aeroplane is a vehicle with wings and engines that can fly.
a ship | A ship is a large boat that carries people and goods over water.
a bridge | A bridge is a structure that lets people cross a river, a road or a valley.
a clock | A clock is a device that shows the time.
money | Money is what people use to pay for goods and services.
a doctor | A doctor is a person who helps people who are ill or hurt.
a teacher | A teacher is a person who helps others to learn.
democracy | Democracy is a form of government in which the people choose their leaders by voting.
peace | Peace is a time without war or quarrel.
photosynthesis | Photosynthesis is the way plants make food from sunlight, water and air. It also gives off oxygen.
an atom | An atom is the smallest piece of a chemical element. It has a nucleus with electrons around it.
oxygen | Oxygen is a gas in the air that people and animals need to breathe.
""",
    2,
)

# topic | answer: how this program and its field work
MACHINERY = table(
    """
Laminar | Laminar is a server for large language models, written in Rust. It moves a prompt through the model layer by layer, so that answers that are already running keep flowing.
layered prefill | Layered prefill splits the model into groups of layers. In each step the new prompt passes through one group, while all running answers pass through the whole model. So nobody has to wait long, and each layer reads its weights only once per prompt.
chunked prefill | Chunked prefill cuts a long prompt into pieces of tokens and runs one piece in each step. It keeps answers moving, but every piece has to read the weights of all layers again.
a mixture of experts | A mixture of experts is a model with many small networks, called experts, in each layer. A router picks a few experts for each token, so the model can be large while each token costs little.
an expert | In a mixture of experts an expert is one of the small networks inside a layer. Only the experts that the router picks have to work on a token.
a router | A router is the part of a mixture of experts that looks at each token and picks the experts that should work on it.
a language model | A language model is a program that has learned from text which word is likely to come next. It writes one token after another.
a token | A token is a small piece of text, such as a word or a part of a word. Language models read and write tokens.
a tokenizer | A tokenizer cuts text into tokens and gives each token a number that the model can work with.
prefill | Prefill is the phase in which a model reads the whole prompt. When it is done, the first token of the answer can be written.
decode | Decode is the phase in which a model writes its answer, one token at a time.
a prompt | A prompt is the text that you give to a language model so that it can write an answer.
attention | Attention lets every token look back at the tokens before it and collect what is useful from them.
a KV cache | A KV cache stores the keys and values of all tokens so far, so that the model does not have to compute them again for each new token.
quantization | Quantization stores the weights of a model with fewer bits. The model becomes smaller and faster and loses only a little quality.
a neural network | A neural network is a program made of many simple units with weights. It learns by changing the weights until its answers are good.
a layer | A layer is one step of a neural network. It takes a list of numbers for every token, changes it, and passes it on.
a transformer | A transformer is a neural network built from layers of attention and small networks. Most language models are transformers.
time to first token | Time to first token is how long you wait between sending a prompt and seeing the first word of the answer.
time between tokens | Time between tokens is the pause between one word of an answer and the next. A good server keeps it short and steady.
continuous batching | Continuous batching lets new requests join and finished requests leave after every step, so that the machine is always busy.
GGUF | GGUF is a file format for language models. One file holds the weights, the tokenizer and the settings.
machine learning | Machine learning is a way to make programs that learn from examples instead of following fixed rules.
artificial intelligence | Artificial intelligence is the study of machines that do things which seem to need intelligence, such as understanding language.
streaming | Streaming means that a server sends each piece of an answer as soon as it is ready, so that you can read while it is still writing.
a scheduler | A scheduler decides what a server does next: which answers move on, and which part of a new prompt runs in the next step.
""",
    2,
)

# question | answer
QUESTIONS = table(
    """
Why is the sky blue? | The sky looks blue because the air scatters blue light from the sun more than red light.
Why is the sea salty? | Rivers carry small amounts of salt from rocks into the sea, and the salt stays there when water dries up into the air.
Why do leaves fall in autumn? | In autumn there is less light, so many trees stop making food in their leaves and let them fall to save water.
Why do leaves change colour? | When the green colour in leaves breaks down in autumn, the yellow and red colours can be seen.
Why do we sleep? | We sleep so that the body can rest and the brain can sort what it learned during the day.
Why do we dream? | Nobody knows for sure. Many people think that dreams help the brain to sort memories and feelings.
Why is grass green? | Grass is green because it is full of chlorophyll, which it uses to make food from sunlight.
Why do birds sing? | Birds sing to find a partner and to tell other birds that a place is taken.
Why do cats purr? | Cats often purr when they are content, and sometimes to calm themselves.
Why does ice float? | Ice floats because frozen water takes more room than liquid water, so it is lighter for its size.
Why does the moon shine? | The moon shines because it reflects the light of the sun.
Why do we have seasons? | We have seasons because the Earth is tilted, so each half gets more sun in one part of the year and less in the other.
Why is it dark at night? | It is dark at night because our side of the Earth is turned away from the sun.
Why do stars twinkle? | Stars twinkle because their light passes through moving air before it reaches our eyes.
How do bees make honey? | Bees collect nectar from flowers, carry it to the hive and dry it there until it becomes honey.
How do birds fly? | Birds fly by pushing air down with their wings. Their bones are light, and their feathers shape the wing.
How do fish breathe? | Fish breathe with gills, which take oxygen out of the water.
How do plants grow? | Plants grow by making food from sunlight, water and air, and by taking minerals from the soil.
How does a plane fly? | The wings of a plane are shaped so that moving air lifts them, and the engines push the plane forward.
How does a computer work? | A computer follows simple instructions very quickly. A processor does the work, and memory holds the data.
How do magnets work? | Magnets pull on iron and on other magnets because tiny currents inside them all point the same way.
How far away is the moon? | The moon is about three hundred and eighty thousand kilometres away from the Earth.
How far away is the sun? | The sun is about one hundred and fifty million kilometres away from the Earth.
How old is the Earth? | The Earth is about four and a half billion years old.
How many planets are there? | There are eight planets in our solar system.
How many continents are there? | There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America and South America.
How many days are in a year? | There are three hundred and sixty-five days in a year, and one more in a leap year.
How many days are in a week? | There are seven days in a week.
How many months are in a year? | There are twelve months in a year.
How many hours are in a day? | There are twenty-four hours in a day.
How many minutes are in an hour? | There are sixty minutes in an hour.
How many seconds are in a minute? | There are sixty seconds in a minute.
How many legs does a spider have? | A spider has eight legs.
How many legs does an insect have? | An insect has six legs.
How many legs does a dog have? | A dog has four legs.
How many sides does a triangle have? | A triangle has three sides.
How many sides does a hexagon have? | A hexagon has six sides.
How many letters are in the alphabet? | There are twenty-six letters in the English alphabet.
How many strings does a guitar have? | A guitar usually has six strings.
What is the largest animal? | The largest animal is the blue whale.
What is the largest land animal? | The largest land animal is the African elephant.
What is the fastest land animal? | The fastest land animal is the cheetah.
What is the tallest animal? | The tallest animal is the giraffe.
What is the largest planet? | The largest planet in our solar system is Jupiter.
What is the smallest planet? | The smallest planet in our solar system is Mercury.
What is the largest ocean? | The largest ocean is the Pacific Ocean.
What is the longest river? | The Nile in Africa is often called the longest river in the world.
What is the highest mountain? | The highest mountain above the sea is Mount Everest.
What is the largest country? | The largest country by area is Russia.
What is the smallest country? | The smallest country is Vatican City.
What is the hottest planet? | The hottest planet is Venus, because its thick air keeps the heat in.
What is the opposite of day? | The opposite of day is night.
What do plants need to grow? | Plants need light, water, air and minerals from the soil.
What do bees make? | Bees make honey and wax.
What comes after Monday? | Tuesday comes after Monday.
What comes after spring? | Summer comes after spring.
What is the first month of the year? | The first month of the year is January.
What is the last month of the year? | The last month of the year is December.
What is water made of? | Water is made of hydrogen and oxygen.
What is glass made of? | Glass is made mostly of sand that has been melted.
What is paper made of? | Paper is usually made of wood.
What is bread made of? | Bread is made of flour, water, yeast and a little salt.
What is the meaning of life? | People have asked that for a very long time. Many say that it is to love, to learn and to be kind.
At what temperature does water boil? | Water boils at one hundred degrees Celsius at sea level.
At what temperature does water freeze? | Water freezes at zero degrees Celsius.
Who wrote Hamlet? | William Shakespeare wrote Hamlet.
Who wrote Romeo and Juliet? | William Shakespeare wrote Romeo and Juliet.
Who wrote Pride and Prejudice? | Jane Austen wrote Pride and Prejudice.
Who wrote Alice in Wonderland? | Lewis Carroll wrote Alice in Wonderland.
Who wrote the Odyssey? | The Odyssey is said to be the work of the poet Homer.
Who painted the Mona Lisa? | Leonardo da Vinci painted the Mona Lisa.
Who was Albert Einstein? | Albert Einstein was a physicist who is famous for the theory of relativity.
Who was Isaac Newton? | Isaac Newton was a scientist who described gravity and the laws of motion.
Who was Charles Darwin? | Charles Darwin was a scientist who explained how living things change over time.
Who was Marie Curie? | Marie Curie was a scientist who studied radioactivity and won two Nobel Prizes.
Who was Ada Lovelace? | Ada Lovelace wrote what is often called the first computer program.
Who was Alan Turing? | Alan Turing was a mathematician who helped to found computer science.
Who was the first person on the moon? | Neil Armstrong was the first person to walk on the moon, in 1969.
Who discovered gravity? | Isaac Newton described gravity in the seventeenth century.
Who invented the telephone? | Alexander Graham Bell is usually named as the inventor of the telephone.
Who invented the light bulb? | Many people worked on it, and Thomas Edison made the light bulb practical.
When did people land on the moon? | People first landed on the moon in 1969.
When was the printing press invented? | Johannes Gutenberg built his printing press around the year 1450.
Where does the sun rise? | The sun rises in the east and sets in the west.
Where do polar bears live? | Polar bears live in the Arctic, on and near the sea ice.
Where is the Eiffel Tower? | The Eiffel Tower is in Paris, the capital of France.
Where is the Great Wall? | The Great Wall is in China.
Where are the pyramids? | The most famous pyramids are in Egypt, near Cairo.
Can fish fly? | Most fish cannot fly, but flying fish can glide above the water for a short way.
Can penguins fly? | No, penguins cannot fly, but they swim very well.
Is the Earth flat? | No, the Earth is round like a ball.
Is the sun a star? | Yes, the sun is a star. It looks large because it is near to us.
Is a tomato a fruit? | Yes, to a botanist a tomato is a fruit. In the kitchen we treat it as a vegetable.
Is a whale a fish? | No, a whale is a mammal. It breathes air and feeds its young with milk.
Is a spider an insect? | No, a spider is not an insect. It has eight legs, and an insect has six.
""",
    2,
)

OPPOSITES = table(
    """
hot | cold
big | small
large | small
tall | short
long | short
fast | slow
quick | slow
high | low
light | dark
day | night
good | bad
happy | sad
young | old
new | old
rich | poor
strong | weak
hard | soft
full | empty
open | closed
early | late
near | far
up | down
left | right
in | out
black | white
wet | dry
clean | dirty
loud | quiet
heavy | light
thick | thin
wide | narrow
deep | shallow
sweet | sour
easy | difficult
first | last
begin | end
love | hate
true | false
yes | no
win | lose
buy | sell
give | take
push | pull
laugh | cry
awake | asleep
brave | afraid
rough | smooth
safe | dangerous
summer | winter
friend | enemy
""",
    2,
)

# group | members
LISTS = table(
    """
fruits | apples, pears, bananas, cherries, grapes, plums, oranges, strawberries, peaches, lemons
vegetables | carrots, potatoes, onions, cabbages, peas, beans, tomatoes, spinach, leeks, pumpkins
animals | cats, dogs, horses, lions, foxes, owls, whales, frogs, elephants, rabbits
farm animals | cows, pigs, sheep, hens, goats, horses, ducks, geese
birds | owls, eagles, robins, ravens, swans, sparrows, penguins, herons, storks
trees | oaks, pines, birches, maples, willows, beeches, elms, cedars
flowers | roses, tulips, lilies, daisies, sunflowers, violets, poppies, orchids
colours | red, blue, green, yellow, orange, purple, brown, black, white, pink
planets | Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune
oceans | the Pacific, the Atlantic, the Indian Ocean, the Southern Ocean, the Arctic Ocean
continents | Africa, Antarctica, Asia, Australia, Europe, North America, South America
countries | France, Japan, Brazil, Kenya, Canada, India, Norway, Egypt, Peru, Australia
cities | Paris, Tokyo, London, Cairo, Rome, Lima, Berlin, Sydney, Nairobi, Toronto
languages | English, Spanish, Chinese, Arabic, French, Hindi, German, Swahili, Japanese
musical instruments | pianos, guitars, violins, flutes, drums, trumpets, harps, cellos
sports | football, tennis, swimming, running, cycling, chess, rowing, basketball, skiing
hobbies | reading, painting, gardening, cooking, hiking, singing, chess, knitting, fishing
drinks | water, tea, coffee, milk, juice, lemonade, cocoa
foods | bread, rice, soup, cheese, pasta, salad, eggs, fish, potatoes
tools | hammers, saws, screwdrivers, pliers, drills, spades, wrenches
metals | iron, copper, gold, silver, tin, lead, aluminium, zinc
shapes | circles, squares, triangles, rectangles, stars, ovals, hexagons
seasons | spring, summer, autumn, winter
jobs | teachers, doctors, bakers, farmers, pilots, painters, nurses, engineers, carpenters
vehicles | cars, trains, buses, bicycles, ships, aeroplanes, trams, lorries
programming languages | Rust, Python, C, Java, Go, Haskell, Lua, Ruby
things in a kitchen | a stove, a pan, a knife, a sink, a table, a kettle, a cupboard
things in a garden | flowers, a spade, a bench, a hedge, a pond, an apple tree, a path
clothes | shirts, trousers, coats, hats, socks, shoes, scarves, gloves
""",
    2,
)

# task | steps, separated by ;
HOWTO = table(
    """
make tea | Boil some fresh water.; Put a tea bag or some tea leaves into a cup.; Pour the hot water over the tea.; Wait for three to five minutes.; Take the tea out and enjoy your cup.
make coffee | Boil some water.; Put ground coffee into a filter.; Pour the water slowly over the coffee.; Wait until it has run through.; Serve it hot.
boil an egg | Put the egg into a pan of cold water.; Bring the water to a boil.; Wait four minutes for a soft egg or nine minutes for a hard one.; Cool the egg in cold water.; Peel it and add a little salt.
bake bread | Mix flour, water, yeast and salt.; Knead the dough for ten minutes.; Let it rise for an hour in a warm place.; Shape it into a loaf.; Bake it until the crust is brown.
make soup | Cut some onions, carrots and potatoes.; Fry the onions in a little oil.; Add the other vegetables and water.; Let it cook for twenty minutes.; Add salt and herbs and serve it hot.
make a sandwich | Take two slices of bread.; Spread some butter on them.; Add cheese, tomato or whatever you like.; Put the slices together.; Cut the sandwich in half.
make a salad | Wash the leaves and vegetables.; Cut them into small pieces.; Mix oil, vinegar and salt.; Pour the dressing over the salad.; Toss it well and serve.
cook rice | Wash the rice.; Use two cups of water for one cup of rice.; Bring it to a boil with a little salt.; Cover it and cook it gently for fifteen minutes.; Let it rest before you serve it.
cook pasta | Boil a large pot of water with salt.; Add the pasta and stir.; Cook it for about ten minutes.; Taste whether it is done.; Drain it and add your sauce.
plant a tree | Choose a sunny place with enough room.; Dig a wide hole.; Set the tree into the hole and spread its roots.; Fill the hole with earth.; Water the tree well.
grow tomatoes | Sow the seeds in a warm place in spring.; Move the young plants to larger pots.; Put them outside when the nights are warm.; Water them often and tie them to a stick.; Pick the tomatoes when they are red.
wash the dishes | Scrape off what is left of the food.; Fill the sink with hot water and a little soap.; Wash the glasses first and the pans last.; Rinse everything with clean water.; Let it dry.
learn a language | Learn a few words every day.; Listen to people who speak it.; Read simple books.; Speak as often as you can.; Do not be afraid of mistakes.
learn to program | Choose one language and stay with it for a while.; Write very small programs first.; Read the error messages with care.; Read code that others wrote.; Build something that you would like to use.
learn chess | Learn how each piece moves.; Learn how to give checkmate.; Play many slow games.; Look at your mistakes afterwards.; Solve a few puzzles every day.
sleep better | Go to bed at the same time every day.; Keep your room dark and cool.; Put away your phone an hour before bed.; Do not drink coffee in the evening.; Read something calm.
study for a test | Start early.; Split the subject into small parts.; Explain each part in your own words.; Do exercises without looking at the answers.; Sleep well the night before.
write a letter | Think about what you want to say.; Begin with a greeting.; Write in short clear sentences.; Close with a friendly line and your name.; Read it once more before you send it.
write a story | Choose a hero and a place.; Give the hero a wish.; Put something in the way.; Let the hero find a way through.; End soon after that.
tie a knot | Make a loop with the rope.; Pass the end through the loop.; Pull both ends slowly.; Check that the knot holds.
ride a bicycle | Set the saddle so that your feet reach the ground.; Hold the handlebars and look ahead.; Push off with one foot.; Keep pedalling so that you stay upright.; Use the brakes gently.
paint a wall | Cover the floor.; Clean the wall and fill the holes.; Paint the edges with a brush.; Fill the rest with a roller.; Let it dry and paint it again.
clean a window | Mix warm water with a little soap.; Wash the glass with a soft cloth.; Pull the water off with a rubber blade.; Dry the edges.
stay healthy | Eat plenty of fruit and vegetables.; Move a little every day.; Drink enough water.; Sleep well.; Spend time with people you like.
save money | Write down what you spend.; Make a plan for the month.; Put some money aside first.; Compare prices.; Wait a day before you buy something large.
make friends | Smile and say hello.; Ask people about themselves.; Listen to what they say.; Join a club or a class.; Be kind and be patient.
calm down | Sit down in a quiet place.; Breathe in slowly and count to four.; Breathe out slowly and count to six.; Repeat it a few times.; Then think about the next small step.
fix a bug | Find a way to make the bug happen again.; Make the example as small as you can.; Read the code and guess the cause.; Change one thing and test it.; Add a test so that it does not come back.
start the Laminar server | Open a terminal in the folder of the project.; Run cargo run --release -- serve.; Wait until it says that it is listening.; Send a request to the chat endpoint.; Read the answer as it streams.
pack a bag | Make a list of what you need.; Put the heavy things at the bottom.; Roll your clothes.; Keep the small things together.; Leave a little room.
take a good photo | Look for soft light.; Go closer to your subject.; Hold the camera still.; Keep the background simple.; Take more than one picture.
""",
    2,
)

JOKES = table(
    """
Why did the chicken cross the road? | To get to the other side.
Why do programmers like the dark? | Because light attracts bugs.
What do you call a fish without eyes? | A fsh.
Why was the maths book sad? | It had too many problems.
What do you call a bear with no teeth? | A gummy bear.
Why did the bicycle fall over? | It was two tired.
What did the ocean say to the beach? | Nothing, it just waved.
Why do bees have sticky hair? | Because they use honeycombs.
What do you call a sleeping bull? | A bulldozer.
Why can you not trust an atom? | Because atoms make up everything.
What has hands but cannot clap? | A clock.
What gets wetter the more it dries? | A towel.
Why did the computer go to the doctor? | It had a virus.
What did one wall say to the other? | I will meet you at the corner.
Why did the scarecrow win a prize? | He was outstanding in his field.
How does the moon cut its hair? | Eclipse it.
What do you call cheese that is not yours? | Nacho cheese.
Why did the token wait so long? | It was stuck behind a very long prompt.
Why did the expert stay at home? | The router did not pick it.
What is a computer's favourite snack? | Chips.
""",
    2,
)

# word | Spanish | French | German
TRANSLATIONS = table(
    """
hello | hola | bonjour | hallo
good morning | buenos dias | bonjour | guten Morgen
good night | buenas noches | bonne nuit | gute Nacht
thank you | gracias | merci | danke
please | por favor | s'il vous plait | bitte
yes | si | oui | ja
no | no | non | nein
water | agua | eau | Wasser
bread | pan | pain | Brot
house | casa | maison | Haus
dog | perro | chien | Hund
cat | gato | chat | Katze
book | libro | livre | Buch
friend | amigo | ami | Freund
sun | sol | soleil | Sonne
moon | luna | lune | Mond
love | amor | amour | Liebe
red | rojo | rouge | rot
one | uno | un | eins
two | dos | deux | zwei
three | tres | trois | drei
goodbye | adios | au revoir | auf Wiedersehen
""",
    4,
)

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Maria Noah Olga Paul Rosa Sam Tina Victor Wendy "
    "Amir Bea Chen Dora Elif Finn Hana Ivan Jonas Kofi Lena Mina Nora Omar Priya Ravi Sara Tom Uma Yuki Zoe Alice "
    "Bob Carol Daniel Ella Frank Gina Hugo Ida John Karl Lucy Mark Nina Oscar Peter Ruth Simon Theo Vera Will Mary "
    "James Sophie Max Laura Eric Julia Adam Eva Martin Helen"
).split()
