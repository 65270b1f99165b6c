//! The tree to text.

use super::{
    Error, Templates, Value, func,
    parse::{Node, Operand, Pipeline},
};

/// So deep may templates include each other, as Helm has it: an endless recursion is an error and no crash.
const MAX_DEPTH: usize = 100;

/// One template that is being rendered.
struct Scope<'a> {
    templates: &'a Templates,
    /// For errors: the file, or the named template.
    name: &'a str,
    depth: usize,
    variables: Vec<(String, Value)>,
    out: String,
}

/// Renders nodes with `.` and `$` being `root`.
///
/// # Errors
/// See [`Templates::render`].
pub(super) fn render(
    templates: &Templates,
    name: &str,
    body: &[Node],
    root: &Value,
) -> Result<String, Error> {
    nested(templates, name, body, root, 0)
}

fn nested(
    templates: &Templates,
    name: &str,
    body: &[Node],
    root: &Value,
    depth: usize,
) -> Result<String, Error> {
    let variables = vec![(String::new(), root.clone())];
    let mut scope = Scope { templates, name, depth, variables, out: String::new() };
    scope.nodes(body, root)?;
    Ok(scope.out)
}

// === impl Scope ===

impl Scope<'_> {
    fn fault(&self, line: usize, problem: impl Into<String>) -> Error {
        Error::Evaluation { place: format!("{}:{line}", self.name), problem: problem.into() }
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Error> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    /// Renders nodes whose variables end with them.
    fn block(&mut self, nodes: &[Node], dot: &Value, known: usize) -> Result<(), Error> {
        let done = self.nodes(nodes, dot);
        self.variables.truncate(known);
        done
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), Error> {
        let known = self.variables.len();
        match node {
            Node::Literal(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.to_string());
                }
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.pipeline(condition, dot)?.is_true() {
                        return self.block(body, dot, known);
                    }
                }
                self.block(otherwise, dot, known)?;
            }
            Node::With { pipeline, body, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                match value.is_true() {
                    true => self.block(body, &value, known)?,
                    false => self.block(otherwise, dot, known)?,
                }
            }
            Node::Range { pipeline, body, otherwise } => self.range(pipeline, body, otherwise, dot)?,
            Node::Template { name, pipeline, line } => {
                let root = match pipeline {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Value::Nil,
                };
                let text = self.include(name, &root, *line)?;
                self.out.push_str(&text);
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), Error> {
        let known = self.variables.len();
        let entries: Vec<(Value, Value)> = match self.commands(pipeline, dot)? {
            Value::Nil => Vec::new(),
            Value::List(values) => {
                values.iter().cloned().zip(0..).map(|(value, index)| (Value::Int(index), value)).collect()
            }
            Value::Map(map) => {
                map.borrow().iter().map(|(key, value)| (Value::Text(key.clone()), value.clone())).collect()
            }
            other => {
                return Err(self.fault(pipeline.line, format!("range cannot go over {}", other.kind())));
            }
        };
        if entries.is_empty() {
            return self.block(otherwise, dot, known);
        }
        for (key, value) in entries {
            match pipeline.variables.as_slice() {
                [] => {}
                [name] => self.variables.push((name.clone(), value.clone())),
                [index, name, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((name.clone(), value.clone()));
                }
            }
            self.block(body, &value, known)?;
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Error> {
        let value = self.commands(pipeline, dot)?;
        let Some(name) = pipeline.variables.first() else { return Ok(value) };
        if pipeline.declares {
            self.variables.push((name.clone(), value.clone()));
            return Ok(value);
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, variable)) => *variable = value.clone(),
            None => return Err(self.fault(pipeline.line, format!("there is no variable ${name}"))),
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Error> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot, pipeline.line)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &[Operand],
        last: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Error> {
        match command {
            [Operand::Function(name), operands @ ..] => self.call(name, operands, last, dot, line),
            [operand] if last.is_none() => self.operand(operand, dot, line),
            _ => Err(self.fault(line, "only a function takes arguments")),
        }
    }

    fn call(
        &mut self,
        name: &str,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Error> {
        // These two look at no more than they need.
        if let "and" | "or" = name {
            let mut value = Value::Nil;
            for operand in operands {
                value = self.operand(operand, dot, line)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut values = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            values.push(self.operand(operand, dot, line)?);
        }
        values.extend(last);
        match (name, values.as_slice()) {
            ("include", [Value::Text(template), root]) => self.include(template, root, line).map(Value::Text),
            ("fail", [Value::Text(sentence)]) => Err(Error::Refused(sentence.clone())),
            (_, values) => {
                func::call(name, values).map_err(|problem| self.fault(line, format!("{name}: {problem}")))
            }
        }
    }

    fn include(&self, name: &str, root: &Value, line: usize) -> Result<String, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fault(line, "templates include each other without end"));
        }
        let Some((name, body)) = self.templates.named.get_key_value(name) else {
            return Err(self.fault(line, format!("there is no template {name:?}")));
        };
        nested(self.templates, name, body, root, self.depth + 1)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, line: usize) -> Result<Value, Error> {
        Ok(match operand {
            Operand::Function(name) => return self.call(name, &[], None, dot, line),
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(value) => Value::Text(value.clone()),
            Operand::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(self.fault(line, format!("there is no variable ${name}"))),
            },
            Operand::Parenthesis(pipeline) => return self.pipeline(pipeline, dot),
            Operand::Chain(of, fields) => {
                let mut value = self.operand(of, dot, line)?;
                for field in fields {
                    value = match &value {
                        Value::Map(map) => map.borrow().get(field).cloned().unwrap_or(Value::Nil),
                        Value::Nil => {
                            let problem =
                                format!("{field} is asked of a value that is not set; was it null?");
                            return Err(self.fault(line, problem));
                        }
                        other => {
                            let problem = format!("{} has no field {field}", other.kind());
                            return Err(self.fault(line, problem));
                        }
                    };
                }
                value
            }
        })
    }
}
