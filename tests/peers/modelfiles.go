// What Ollama's own packages make of a Modelfile (its parser, its client's request, its server's check of the template) and of a model's name.
//
// Lines in and out. "m TEXT", a Modelfile in base64 with its files in the working folder, gives {"template", "system", "licenses", "parameters",
// "messages", "renderer", "parser", "requires"} or {"error", "line"}, without a line where the parser names none; "n TEXT", a name, gives {"name"} as
// it is shown, or {}.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/ollama/ollama/parser"
	"github.com/ollama/ollama/template"
	"github.com/ollama/ollama/types/model"
)

func read(text []byte) (map[string]any, error) {
	file, err := parser.ParseFile(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request, err := file.CreateRequest(".")
	if err != nil {
		return nil, err
	}
	if _, err := template.Parse(request.Template); err != nil {
		return nil, err
	}
	if _, err := json.Marshal(request.Parameters); err != nil { // as the client does
		return nil, err
	}
	bytes, err := json.Marshal(request) // fields that only some versions have
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(bytes, &fields); err != nil {
		return nil, err
	}
	messages := []any{}
	for _, message := range request.Messages {
		messages = append(messages, map[string]any{"role": message.Role, "content": message.Content})
	}
	return map[string]any{"template": request.Template, "system": request.System, "licenses": request.License, "parameters": request.Parameters,
		"messages": messages, "renderer": fields["renderer"], "parser": fields["parser"], "requires": fields["requires"]}, nil
}

func answer(kind string, text []byte) map[string]any {
	if kind == "n" {
		if name := model.ParseName(string(text)); name.IsValid() {
			return map[string]any{"name": name.DisplayShortest()}
		}
		return map[string]any{}
	}
	answer, err := read(text)
	if err != nil {
		answer = map[string]any{"error": err.Error()}
		var at *parser.ParserError
		if errors.As(err, &at) && at.LineNumber > 0 {
			answer["line"] = at.LineNumber
		}
	}
	return answer
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		kind, encoded, _ := strings.Cut(in.Text(), " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			panic(err)
		}
		if err := out.Encode(answer(kind, text)); err != nil {
			panic(err)
		}
	}
}
