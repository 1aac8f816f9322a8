package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// maxNodes bounds how many nodes of Atlassian's document format one call makes:
// far above what a comment or a description may have (32,767 characters, Jira
// Cloud, 2026-08-22), and little memory.
const maxNodes = 20_000

var errNodes = fmt.Errorf("the document has more than %d nodes", maxNodes)

// documentFunctions make and read documents of Atlassian's document format
// (ADF), and read Atlassian's resource identifiers (ARI).
func documentFunctions() []cel.EnvOption {
	node := cel.MapType(cel.StringType, cel.DynType)
	return []cel.EnvOption{
		global("adf.paragraph", node, func(args []ref.Val) (any, error) { return paragraph(str(args[0])) }, cel.StringType),
		global("adf.doc", node, document, cel.DynType),
		global("adf.text", cel.StringType, documentText, cel.DynType),
		global("ari.parse", cel.MapType(cel.StringType, cel.StringType), parseARI, cel.StringType),
	}
}

// paragraph makes a paragraph of a text; its line ends become line breaks. A
// text node must not be empty, so that an empty line has none.
func paragraph(text string) (map[string]any, error) {
	content := []any{}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if len(lines) > maxNodes/2 {
		return nil, errNodes
	}
	for i, line := range lines {
		if i > 0 {
			content = append(content, map[string]any{"type": "hardBreak"})
		}
		if line != "" {
			content = append(content, map[string]any{"type": "text", "text": line})
		}
	}
	return map[string]any{"type": "paragraph", "content": content}, nil
}

// document makes a document: of a text with a paragraph for each part between
// empty lines, or of a list of nodes and texts, each of which is a paragraph.
func document(args []ref.Val) (any, error) {
	content := []any{}
	add := func(text string) error {
		node, err := paragraph(text)
		if content = append(content, node); len(content) > maxNodes/10 {
			err = errors.Join(err, errNodes)
		}
		return err
	}
	switch v := args[0].(type) {
	case types.String:
		for part := range strings.SplitSeq(strings.ReplaceAll(string(v), "\r\n", "\n"), "\n\n") {
			if part = strings.Trim(part, "\n"); part != "" {
				if err := add(part); err != nil {
					return nil, err
				}
			}
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			element := it.Next()
			if text, isText := element.(types.String); isText {
				if err := add(string(text)); err != nil {
					return nil, err
				}
			} else {
				content = append(content, element)
			}
		}
	default:
		return nil, fmt.Errorf("adf.doc of a value of type %s, want a string or a list", typeName(args[0]))
	}
	return map[string]any{"type": "doc", "version": int64(1), "content": content}, nil
}

// documentText reads the plain text of a document, or of a node: a line for
// each block. A string is its own text, null is none.
func documentText(args []ref.Val) (any, error) {
	switch v := args[0].(type) {
	case types.String:
		return string(v), nil
	case types.Null:
		return "", nil
	}
	var out strings.Builder
	if err := nodeText(&out, args[0], 0); err != nil {
		return nil, err
	}
	return strings.TrimSpace(out.String()), nil
}

func nodeText(out *strings.Builder, node ref.Val, depth int) error {
	m, isMap := node.(traits.Mapper)
	switch {
	case !isMap:
		return fmt.Errorf("adf.text of a value of type %s, want a document", typeName(node))
	case depth > maxDepth:
		return fmt.Errorf("the document is nested more than %d deep", maxDepth)
	case out.Len() > maxMade:
		return errMade
	}
	switch kind := memberText(m, "type"); kind {
	case "text":
		out.WriteString(memberText(m, "text"))
	case "hardBreak":
		out.WriteString("\n")
	case "mention", "emoji", "status", "date", "inlineCard":
		if attrs, ok := m.Find(types.String("attrs")); ok {
			if inner, isMap := attrs.(traits.Mapper); isMap {
				out.WriteString(memberText(inner, "text"))
			}
		}
	}
	content, ok := m.Find(types.String("content"))
	list, isList := content.(traits.Lister)
	if !ok || !isList {
		return nil
	}
	for it := list.Iterator(); it.HasNext() == types.True; {
		if err := nodeText(out, it.Next(), depth+1); err != nil {
			return err
		}
	}
	if depth > 0 && !strings.HasSuffix(out.String(), "\n") {
		out.WriteString("\n")
	}
	return nil
}

func memberText(m traits.Mapper, name string) string {
	value, _ := m.Find(types.String(name))
	text, _ := value.(types.String)
	return string(text)
}

// ariPattern is ari:cloud:OWNER:SITE:TYPE/ID; the site may be empty, as in
// ari:cloud:ecosystem::installation/… (Forge, "Atlassian resource identifier",
// 2026-08-22).
var ariPattern = regexp.MustCompile(`^ari:([a-z0-9.-]+):([A-Za-z0-9._-]+):([^:/]*):([A-Za-z0-9._-]+)/(.+)$`)

// parseARI takes an Atlassian resource identifier apart.
func parseARI(args []ref.Val) (any, error) {
	text := str(args[0])
	parts := ariPattern.FindStringSubmatch(text)
	if parts == nil || len(text) > 2048 {
		return nil, fmt.Errorf("%q is no ARI, want ari:cloud:owner:site:type/id", shorten(text))
	}
	return map[string]string{"cloud": parts[1], "owner": parts[2], "site": parts[3], "type": parts[4], "id": parts[5]}, nil
}
