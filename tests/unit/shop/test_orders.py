"""Orders: what the real lines hold, and what becomes of lines that hold less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita_shop.messages import Line, OrderPlaced, ReturnRequested
from partita_shop.orders import NOBODY, Invoice, list_invoices, opening_stock, pence_of, read_invoices
from partita_shop.trouble import LARGE_PENCE, NEVER_IN_STOCK, trouble_of

HEAD = "order_id,placed_at,customer_id,country,stock_code,description,quantity,unit_price\n"


def read_one(*lines: str) -> Invoice:
    (invoice,) = read_invoices([HEAD, *(f"{line}\n" for line in lines)])
    return invoice


def test_all_invoices_are_read() -> None:
    invoices = list_invoices()

    assert len(invoices) == 241
    assert [invoice.id for invoice in invoices if invoice.is_return] == ["C536379", "C536383", "C536391", "C536506"]
    assert sum(invoice.pence > LARGE_PENCE for invoice in invoices) == 15


def test_the_shelves_are_stocked_with_every_article_and_nothing_else() -> None:
    stock = opening_stock(list_invoices())

    assert len(stock) == 1_520
    assert "D" not in {line.sku for line in stock}
    assert sum(line.count for line in stock) == sum(
        line.count for invoice in list_invoices() if not invoice.is_return for line in invoice.lines
    )


def test_every_order_has_something_to_reserve_and_costs_no_less_than_nothing() -> None:
    orders = [invoice for invoice in list_invoices() if not invoice.is_return]

    assert all(invoice.lines and invoice.pence >= 0 for invoice in orders)
    assert [invoice.id for invoice in orders if invoice.pence == 0] == ["536414"], "one article costs nothing"


@given(st.integers(min_value=0, max_value=10**9))
def test_pence_come_through_pounds_unchanged(pence: int) -> None:
    assert pence_of(f"{pence // 100}.{pence % 100:02}") == pence


@pytest.mark.parametrize(
    ("price", "pence"), [("4.25", 425), ("4.5", 450), ("18", 1_800), ("0", 0), ("0.29", 29), ("2.000", 200)]
)
def test_a_price_is_whole_pence(price: str, pence: int) -> None:
    assert pence_of(price) == pence


@pytest.mark.parametrize("price", ["", "1.005", "-1", "1e3", "£2", "nan", "1.x"])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="price"):
        pence_of(price)


def test_one_article_on_several_lines_is_added_up() -> None:
    invoice = read_one("1,2010-12-01T08:26,9,Norway,A,mug,2,1.50", "1,2010-12-01T08:26,9,Norway,A,mug,3,1.25")

    assert invoice.lines == (Line("A", 5),)
    assert invoice.pence == 2 * 150 + 3 * 125


def test_an_order_without_a_customer_is_a_guests() -> None:
    message = read_one("1,2010-12-01T08:26,,Norway,A,mug,1,1.50").message()

    assert isinstance(message, OrderPlaced)
    assert message.customer == NOBODY


def test_quotes_and_commas_in_a_description_do_not_move_the_columns() -> None:
    invoice = read_one('1,2010-12-01T08:26,9,Norway,A,"12"" FAN, RED ""LARGE""",2,1.50')

    assert (invoice.lines, invoice.pence) == ((Line("A", 2),), 300)


@pytest.mark.parametrize("quantity", ["0", "-3"])
def test_a_line_that_orders_nothing_is_left_out(quantity: str) -> None:
    invoice = read_one("1,2010-12-01T08:26,9,Norway,A,mug,1,1.50", f"1,2010-12-01T08:26,9,Norway,B,cup,{quantity},9.99")

    assert (invoice.lines, invoice.pence) == ((Line("A", 1),), 150)


def test_what_comes_back_is_counted_as_it_comes() -> None:
    invoice = read_one("C1,2010-12-01T08:26,9,Norway,A,mug,-2,1.50")

    assert invoice.case == "return:C1"
    assert invoice.message() == ReturnRequested(return_id="C1", lines=(Line("A", 2),), pence=300)


def test_a_discount_moves_money_and_no_goods() -> None:
    message = read_one("C1,2010-12-01T08:26,9,Norway,D,Discount,-1,27.50").message()

    assert message == ReturnRequested(return_id="C1", lines=(), pence=2_750)


def test_who_is_to_run_out_of_stock_asks_for_what_no_delivery_brings() -> None:
    invoice = next(invoice for invoice in list_invoices() if trouble_of(invoice.id) == "out of stock")
    message = invoice.message()

    assert isinstance(message, OrderPlaced)
    assert message.lines == (*invoice.lines, Line(NEVER_IN_STOCK, 1)), "last, so that something has to be rolled back"
    assert NEVER_IN_STOCK not in {line.sku for line in opening_stock(list_invoices())}
