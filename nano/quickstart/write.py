"""Write document.txt: the log of an expedition, long, varied and made up, with one code in the middle.

    quickstart/write.py > quickstart/document.txt

None of these sentences is in the training generator.  The seed is fixed, so the file is always the same."""
import random

SHIP = ["the Alkyon", "the research ship", "our ship", "the vessel"]
PLACES = ["the Kermadec trench", "the northern slope", "the second ridge", "a broad terrace", "the axis of the trench", "the western wall", "station nine", "the mooring field", "a field of nodules", "the foot of the scarp"]
ANIMALS = ["snailfish", "amphipods", "sea cucumbers", "brittle stars", "a pale octopus", "shrimp", "cusk eels", "sponges on long stalks", "a swarm of copepods", "sea pens", "rattail fish", "worms in thin tubes"]
GEAR = ["the camera lander", "the sediment corer", "the baited trap", "the towed sledge", "the water sampler", "the current meter", "the deep tow", "the plankton net", "the acoustic beacon", "the pressure housing"]
CREW = ["Ana", "the chief engineer", "Joris", "the second officer", "Mirela", "the winch crew", "Tomas", "the night watch", "the cook", "both students", "Ingrid", "the doctor", "the bosun"]
WEATHER = ["fog until noon", "a long swell from the south", "clear sky and no wind", "rain in short showers", "a cold wind from the ice", "high thin cloud", "a red dawn", "steady trade winds", "drizzle and poor sight", "a calm sea like glass"]
SENTENCES = [
    "Weather: {weather}.", "At {clock} {crew} lowered {gear} to {depth} metres.", "{gear} came back at {clock} with mud in every valve.", "The cable counter read {depth} metres when {gear} touched the bottom.",
    "We spent {small} hours over {place} and mapped {number} square kilometres.", "On the screen we counted {small} {animal} before the lights went out.", "{crew} repaired {gear} with a spare seal and a great deal of patience.",
    "Water temperature at the bottom was {small}.{digit} degrees, salinity thirty-four point {digit}.", "The echo sounder lost the floor for {small} minutes near {place}.", "{crew} saw {animal} in the first frame and forgot to eat lunch.",
    "Nobody slept much, because {gear} had to be turned around before dawn.", "Supper was soup again, and {crew} complained only once.", "{ship} drifted {number} metres to the east while we waited for {gear}.",
    "A core of {small} metres came up whole, grey at the top and almost black at its lower end.", "{crew} labelled {number} jars and ran out of lids at number {small}.", "Under the microscope the grains looked like broken glass.",
    "Between the grains sat {animal}, none longer than a fingernail.", "We do not know yet why {animal} gather at {place}.", "Perhaps the current brings food there, as {crew} believes.", "The pressure at {depth} metres is hard to imagine: a small car on every fingernail.",
    "{gear} stayed silent for {small} hours, then answered on the second frequency.", "{crew} plotted the track and found that we had crossed {place} twice.", "In the evening {crew} read aloud from an old book about whales.",
    "The satellite link gave us {small} minutes, enough for letters and one bad joke.", "Fuel stands at {number} tonnes, fresh water at {small}.", "We passed a container ship at {clock}; it did not answer our call.",
    "Two hooks bent on {gear}, so the traps stay on deck until {crew} finds better steel.", "By {clock} the mud had dried on the deck and smelled of sulphur.", "{crew} thinks that {place} was formed by a single slide, long before there were people.",
    "Tomorrow we try {place} once more, with less cable and more light.", "The film shows {animal} feeding on a fallen tree trunk at {depth} metres.", "How a tree came to {place} nobody can say.", "All instruments were rinsed with fresh water and put to bed.",
    "A shark followed {gear} down to {number} metres and lost interest.", "{crew} won the chess match against {crew2} in {small} moves.", "The new battery holds for {small} hours at two degrees, a little less than the maker promised.",
    "Dissolved oxygen was low at {place}, and yet {animal} were everywhere.", "We wrote down everything twice, once in ink.", "The sound of rain on the sea reaches the deepest microphone after four seconds.", "{ship} turned into the wind at {clock} and waited."]
FACT = "The code of the Tamoru lander is bakiro."
DAYS, FACT_DAY = 86, 41


def fill(r, text):
    depth = lambda: f"{r.randint(4, 10)},{r.randint(0, 999):03d}"
    values = {"weather": r.choice(WEATHER), "crew": r.choice(CREW), "crew2": r.choice(CREW), "gear": r.choice(GEAR), "place": r.choice(PLACES), "animal": r.choice(ANIMALS), "ship": r.choice(SHIP),
              "clock": f"{r.randint(0, 23)}:{r.randint(0, 59):02d}", "depth": depth(), "small": r.randint(2, 19), "number": r.randint(21, 990), "digit": r.randint(1, 9)}
    out = text.format(**values)
    return out[0].upper() + out[1:]


def document():
    r, days = random.Random(6000), []
    for day in range(1, DAYS + 1):
        said = [fill(r, s) for s in r.sample(SENTENCES, r.randint(4, 8))]
        if day == FACT_DAY:
            said.insert(len(said) // 2, FACT)
        days.append(f"Day {day}. " + " ".join(said))
    return "\n\n".join(days) + "\n"


if __name__ == "__main__":
    print(document(), end="")
