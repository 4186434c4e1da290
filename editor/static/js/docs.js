// The API's pages, from the server's own OpenAPI description.
import { byId, el } from "./dom.js";

const schema = await (await fetch("/openapi.json")).json();

const resolved = (part) => (part?.$ref ? part.$ref.slice(2).split("/").reduce((at, key) => at[key], schema) : part);

/** The rows of an operation's parameters and of the fields of its form. */
function fields(operation) {
  const form = resolved(operation.requestBody?.content?.["multipart/form-data"]?.schema) ?? {};
  const inForm = Object.entries(form.properties ?? {}).map(([name, one]) => [name, one, form.required?.includes(name)]);
  const described = ({ name, schema, description, required }) => [name, { ...schema, description }, required];
  const inPath = (operation.parameters ?? []).map(described);
  return [...inPath, ...inForm];
}

function kind(one) {
  const choices = (one.anyOf ?? [one]).filter((each) => each.type !== "null");
  const type = (each) => (each.contentMediaType || each.format === "binary" ? "file" : each.type);
  const bounds = (each) => (each.maximum === undefined ? "" : `, ${each.minimum} to ${each.maximum}`);
  return choices.map((each) => type(each) + bounds(each)).join(" or ");
}

for (const [path, methods] of Object.entries(schema.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const rows = fields(operation).map(([name, one, required]) => {
      const described = one.description ?? one.anyOf?.find((each) => each.description)?.description;
      const text = [described, one.default ? `default: ${one.default}` : ""].filter(Boolean).join("; ");
      return el("tr", {}, el("th", { textContent: name }), el("td", { textContent: kind(one) }),
        el("td", { textContent: required ? "required" : "" }), el("td", { textContent: text }));
    });
    byId("operations").append(
      el("h2", { textContent: `${method.toUpperCase()} ${path}` }),
      el("p", { textContent: operation.summary ?? "" }),
      ...(rows.length ? [el("table", {}, ...rows)] : []));
  }
}
