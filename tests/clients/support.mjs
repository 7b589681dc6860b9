// What the embedded model is known to do: it answers greetings, and calls declared tools.
export const url = process.env.HADAL_URL;
export const request = "Call move_lander with lander Tamoru, depth 6200 and lights true.";
export const expected = { lander: "Tamoru", depth: 6200, lights: true };
export const parameters = {
  type: "object",
  properties: {
    lander: { type: "string" },
    depth: { type: "integer", description: "Depth in metres" },
    lights: { type: "boolean" },
  },
  required: ["lander", "depth"],
};
export const description = "Move the lander to a new position";
// The same JSON with its keys reversed: what a client that parses and writes again may send.
export const respelled = (text) =>
  JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text)).reverse()), null, 1);
