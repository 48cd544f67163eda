"""Labels in XML: read piece by piece, and nothing declared in it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from crater_model.errors import DataError

# Elements inside each other; the files of tools have seven.
_MOST_DEPTH = 50


def elements(file: Path, what: str, keep: tuple[str, ...] = ()
             ) -> Iterator[tuple[str, Element, Element | None]]:
    """"start" or "end", element and parent; what has ended is forgotten, so that a file of
    any length takes little memory.

    Args:
      file: the XML file. what: what it should be, for messages ("CVAT for images").
      keep: tags of elements whose children are kept until they end themselves.

    Raises:
      DataError: the file is not whole XML, or declares entities.
    """
    stack: list[Element] = []
    try:
        with file.open("rb") as stream:
            for event, element in iterparse(stream, ("start", "end"), forbid_dtd=True):
                if event == "end":
                    stack.pop()
                parent = stack[-1] if stack else None
                yield event, element, parent
                if event == "start":
                    stack.append(element)
                elif parent is not None and not any(e.tag in keep for e in stack):
                    parent.remove(element)
                if len(stack) > _MOST_DEPTH:
                    raise DataError(f"{file}: has elements more than {_MOST_DEPTH} deep, expected "
                                    f"{what}; export it again")
    except DefusedXmlException:
        raise DataError(f"{file}: declares a document type or entities, which {what} does not; "
                        "export it again") from None
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: is not whole XML ({error}); export it again") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from None
