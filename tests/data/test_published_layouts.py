"""Public data sets: the command that docs/data.md gives reads each as it is published. The rows are invented."""

# ruff: noqa: E501 — the lines of a data set are as long as they are published

import gzip
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from packed import sheet, zipped
from typer.testing import CliRunner

from hyvae.cli.app import app
from hyvae.ratings import Ratings

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@dataclass(frozen=True)
class Layout:
    """Files of a data set, and the ratings that they hold.

    Attributes
    ----------
    files : dict
        Name and content; the ending `.gz` or `.zip` packs it.
    ratings : tuple
        User, item, rating.
    first : str or None
        The earliest time.
    unrated : int
        Pairs that are not rated.
    titles : dict
        Some titles by item.
    """

    files: dict[str, str]
    ratings: tuple[tuple[object, object, float], ...]
    first: str | None = None
    unrated: int = 0
    titles: dict[object, str] = field(default_factory=dict)


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


LAYOUTS = {
    "ml-100k/u.data": Layout(
        {"ml-100k/u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t5\t878887116\n"},
        ((196, 242, 3), (186, 302, 3), (196, 302, 5)),
        "1997-11-07T",
    ),
    "ml-1m/ratings.dat": Layout(
        {
            "ml-1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::661::4::978302268\n",
            "ml-1m/movies.dat": "661::James and the Giant Peach (1996)::Animation\n1193::Amélie::Drama\n",
        },
        ((1, 1193, 5), (1, 661, 3), (2, 661, 4)),
        "2000-12-31T",
        titles={661: "James and the Giant Peach (1996)"},
    ),
    "ml-latest.zip": Layout(
        {
            "ml-latest.zip": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,4.5,964981247\n2,3,0.5,964982224\n",
        },
        ((1, 1, 4), (1, 3, 4.5), (2, 3, 0.5)),
        "2000-07-30T",
    ),
    "combined_data_1.txt": Layout(
        {"combined_data_1.txt": "1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n822109,4,2005-10-19\n"},
        ((1488844, 1, 3), (822109, 1, 5), (822109, 2, 4)),
        "2005-05-13T",
    ),
    "ratings_Books.csv": Layout(
        {
            "ratings_Books.csv": "AH2L9G3DQHHAJ,0000000116,4.0,1019865600\nA2IIIDRK3PRRZY,0000000116,1.0,1395619200\n"
            "A2IIIDRK3PRRZY,000100039X,5.0,1395619300\n"
        },
        (
            ("AH2L9G3DQHHAJ", "0000000116", 4),
            ("A2IIIDRK3PRRZY", "0000000116", 1),
            ("A2IIIDRK3PRRZY", "000100039X", 5),
        ),
        "2002-04-27T",
    ),
    "reviews_Books_5.json.gz": Layout(
        {
            "reviews_Books_5.json.gz": lines(
                *(
                    {
                        "reviewerID": user,
                        "asin": item,
                        "reviewerName": "A. Reader",
                        "helpful": [0, 0],
                        "reviewText": 'He said "no"\n',
                        "overall": rating,
                        "summary": "Fine",
                        "unixReviewTime": 1355616000 + rating,
                        "reviewTime": "12 16, 2012",
                    }
                    for user, item, rating in (
                        ("A10000012B7CGY", "000100039X", 5.0),
                        ("A2S166WSCFIFP5", "000100039X", 2.0),
                    )
                )
            )
        },
        (("A10000012B7CGY", "000100039X", 5), ("A2S166WSCFIFP5", "000100039X", 2)),
        "2012-12-16T",
    ),
    "Books.csv": Layout(
        {
            "Books.csv": "0001713353,A1C6M8LCIX4M6M,5.0,1123804800\n0001713353,A1REUF3A1YCPHM,1.0,1112140800\n"
            "B00005N7P0,A1REUF3A1YCPHM,4.0,1112140900\n"
        },
        (
            ("A1C6M8LCIX4M6M", "0001713353", 5),
            ("A1REUF3A1YCPHM", "0001713353", 1),
            ("A1REUF3A1YCPHM", "B00005N7P0", 4),
        ),
        "2005-03-30T",
    ),
    "Books_5.json.gz": Layout(
        {
            "Books_5.json.gz": lines(
                *(
                    {
                        "overall": rating,
                        "verified": False,
                        "reviewTime": "03 30, 2005",
                        "reviewerID": user,
                        "asin": "0001713353",
                        "style": {"Format:": " Hardcover"},
                        "reviewerName": "TW",
                        "reviewText": "It's fine.",
                        "summary": "Good",
                        "unixReviewTime": 1112140800,
                    }
                    for user, rating in (("A1REUF3A1YCPHM", 5.0), ("AVP0HXC9FG790", 3.0))
                )
            )
        },
        (("A1REUF3A1YCPHM", "0001713353", 5), ("AVP0HXC9FG790", "0001713353", 3)),
        "2005-03-30T",
    ),
    "Books.csv.gz": Layout(
        {
            "Books.csv.gz": "user_id,parent_asin,rating,timestamp\nAFKZENTNBQ7A7V7UXW5JJI6UGRYQ,B01CUKZLZM,5.0,1427265134000\n"
            "AFKZENTNBQ7A7V7UXW5JJI6UGRYQ,0593235657,1.0,1640629604904\n"
        },
        (("AFKZENTNBQ7A7V7UXW5JJI6UGRYQ", "B01CUKZLZM", 5), ("AFKZENTNBQ7A7V7UXW5JJI6UGRYQ", "0593235657", 1)),
        "2015-03-25T",
    ),
    "Books.jsonl.gz": Layout(
        {
            "Books.jsonl.gz": lines(
                *(
                    {
                        "rating": rating,
                        "title": headline,
                        "text": "Words.",
                        "images": [],
                        "asin": "B00YQ6X8EO",
                        "parent_asin": "B00YQ6X8EP",
                        "user_id": user,
                        "timestamp": 1588687728923,
                        "helpful_vote": 0,
                        "verified_purchase": True,
                    }
                    for user, rating, headline in (
                        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", 5.0, "Wow"),
                        ("AFSKPY", 2.0, "Not me"),
                    )
                )
            )
        },
        (("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B00YQ6X8EP", 5), ("AFSKPY", "B00YQ6X8EP", 2)),
        "2020-05-05T",
    ),
    "goodreads_interactions.csv": Layout(
        {
            "goodreads_interactions.csv": "user_id,book_id,is_read,rating,is_reviewed\n0,948,1,5,0\n0,947,1,4,1\n1,948,0,0,0\n"
        },
        ((0, 948, 5), (0, 947, 4)),
        unrated=1,
    ),
    "goodbooks/ratings.csv": Layout(
        {
            "goodbooks/ratings.csv": "user_id,book_id,rating\n1,258,5\n2,4081,4\n2,258,3\n",
            "goodbooks/books.csv": "book_id,goodreads_book_id,best_book_id,work_id,books_count,isbn,authors,original_title,title\n"
            "258,1232,1232,3209783,279,143034901,A. Writer,La sombra,The Shadow\n4081,6,6,7,8,9,B,C,D\n",
        },
        ((1, 258, 5), (2, 4081, 4), (2, 258, 3)),
        titles={258: "The Shadow"},
    ),
    "BX-Book-Ratings.csv": Layout(
        {
            "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n'
            '"276727";"0446520802";"8"\n"276727";"3257224281é";"7"\n'
        },
        ((276726, "0155061224", 5), (276727, "0446520802", 8), (276727, "3257224281é", 7)),
        unrated=1,
    ),
    "jester_ratings.dat": Layout(
        {"jester_ratings.dat": "1\t\t5\t\t0.219\n1\t\t7\t\t-9.281\n2\t\t5\t\t9.875\n"},
        ((1, 5, 0.219), (1, 7, -9.281), (2, 5, 9.875)),
    ),
    "jester-data-1.xls": Layout(
        {"jester-data-1.xls": "2,-7.82,99,8.79\n3,4.08,-0.29,6.36\n1,99,99,9.03\n"},
        ((1, 2, -7.82), (1, 4, 8.79), (2, 2, 4.08), (2, 3, -0.29), (2, 4, 6.36), (3, 4, 9.03)),
    ),
    "mal/rating.csv": Layout(
        {
            "mal/rating.csv": "user_id,anime_id,rating\n1,20,-1\n1,24,8\n2,20,10\n2,24,6\n",
            "mal/anime.csv": "anime_id,name,genre,type,episodes,rating,members\n20,Naruto,Action,TV,220,7.81,683297\n"
            '24,"School, Rumble",Comedy,TV,26,8.06,178553\n',
        },
        ((1, 24, 8), (2, 20, 10), (2, 24, 6)),
        unrated=1,
        titles={24: "School, Rumble"},
    ),
    "animelist.csv": Layout(
        {
            "animelist.csv": "user_id,anime_id,rating,watching_status,watched_episodes\n0,67,9,1,1\n0,6702,7,1,4\n1,67,0,6,0\n"
        },
        ((0, 67, 9), (0, 6702, 7)),
        unrated=1,
    ),
    "yelp_academic_dataset_review.json": Layout(
        {
            "yelp_academic_dataset_review.json": lines(
                *(
                    {
                        "review_id": f"KU_O5udG6zpxOg-Vc{stars}",
                        "user_id": user,
                        "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw",
                        "stars": stars,
                        "useful": 0,
                        "funny": 0,
                        "cool": 0,
                        "text": "Nice.",
                        "date": f"2018-07-0{int(stars)} 22:09:11",
                    }
                    for user, stars in (
                        ("mh_-eMZ6K5RLWhZyISBhwA", 3.0),
                        ("OyoGAe7OKpv6SyGZT5g77Q", 1.0),
                        ("OyoGAe7OKpv6SyGZT5g77Q", 5.0),
                    )
                )
            )
        },
        (
            ("mh_-eMZ6K5RLWhZyISBhwA", "XQfwVwDr-v0ZS3_CbbE5Xw", 3),
            ("OyoGAe7OKpv6SyGZT5g77Q", "XQfwVwDr-v0ZS3_CbbE5Xw", 5),
        ),
        "2018-07-03T",
    ),
    "RAW_interactions.csv": Layout(
        {
            "RAW_interactions.csv": 'user_id,recipe_id,date,rating,review\n38094,40893,2003-02-17,4,"Great, with ""salt"".\nTwice."\n'
            "1293707,40893,2011-12-21,0,So simple\n8937,44394,2002-12-01,5,Yes\n"
        },
        ((38094, 40893, 4), (8937, 44394, 5)),
        "2002-12-01T",
        unrated=1,
    ),
    "user_artists.dat": Layout(
        {"user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n3\t51\t228\n"},
        ((2, 51, 13883), (2, 52, 11690), (3, 51, 228)),
    ),
    "usersha1-artmbid-artname-plays.tsv": Layout(
        {
            "usersha1-artmbid-artname-plays.tsv": '00000c289a\t3bd73256\tbetty blowtorch\t2137\n00000c289a\tf2fb0ff0\tdie "Ärzte\t1099\n'
            '00001411dc\tf2fb0ff0\tdie "Ärzte\t28\n'
        },
        (("00000c289a", "3bd73256", 2137), ("00000c289a", "f2fb0ff0", 1099), ("00001411dc", "f2fb0ff0", 28)),
        titles={"f2fb0ff0": 'die "Ärzte'},
    ),
    "steam-200k.csv": Layout(
        {
            "steam-200k.csv": '151603712,"The Elder Scrolls V, Skyrim",purchase,1.0,0\n151603712,"The Elder Scrolls V, Skyrim",play,273.0,0\n'
            "59945701,Fallout 4,purchase,1.0,0\n59945701,Fallout 4,play,87.5,0\n"
        },
        ((151603712, "The Elder Scrolls V, Skyrim", 273), (59945701, "Fallout 4", 87.5)),
    ),
    "recommendations.csv": Layout(
        {
            "recommendations.csv": "app_id,helpful,funny,date,is_recommended,hours,user_id,review_id\n"
            "975370,0,0,2022-12-12,true,36.3,51580,0\n304390,4,0,2017-02-17,false,11.5,2586,1\n"
        },
        ((51580, 975370, 36.3), (2586, 304390, 11.5)),
        "2017-02-17T",
    ),
    "epinions/ratings_data.txt": Layout(
        {"epinions/ratings_data.txt": "1 100 4\n1 101 5\n2 100 1\n"}, ((1, 100, 4), (1, 101, 5), (2, 100, 1))
    ),
    "movie-ratings.txt": Layout(
        {"movie-ratings.txt": "1,1,12,1,3,2013-06-30\n2,1,12,2,5,2002-02-22\n2,2,7,3,1,2003-03-29\n"},
        ((1, 1, 3), (2, 1, 5), (2, 2, 1)),
        "2002-02-22T",
    ),
    "filmtrust/ratings.txt": Layout(
        {"filmtrust/ratings.txt": "1 1 2\n1 2 4\n2 1 3.5\n"}, ((1, 1, 2), (1, 2, 4), (2, 1, 3.5))
    ),
    "DMSC.csv": Layout(
        {
            "DMSC.csv": "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like\n"
            "0,Avengers Age of Ultron,复仇者联盟2,2017-01-22,1,然潘,2015-05-13,3,连奥创都知道整容要去韩国。,2404\n"
            '1,Avengers Age of Ultron,复仇者联盟2,2017-01-22,2,更深的白色,2015-04-24,2,"非常, 失望",1231\n'
        },
        (("然潘", "Avengers Age of Ultron", 3), ("更深的白色", "Avengers Age of Ultron", 2)),
        "2015-04-24T",
        titles={"Avengers Age of Ultron": "复仇者联盟2"},
    ),
    "uir.index": Layout({"uir.index": "1\t2\t5\n1\t3\t4\n2\t2\t3\n"}, ((1, 2, 5), (1, 3, 4), (2, 2, 3))),
    "ydata-ymusic-rating-study-v1_0-train.txt": Layout(
        {"ydata-ymusic-rating-study-v1_0-train.txt": "1\t14\t5\n1\t35\t1\n2\t14\t2\n"},
        ((1, 14, 5), (1, 35, 1), (2, 14, 2)),
    ),
    "ydata-ymusic-user-artist-ratings-v1_0.txt": Layout(
        {"ydata-ymusic-user-artist-ratings-v1_0.txt": "1\t1000125\t90\n1\t1006373\t255\n2\t1000125\t0\n"},
        ((1, 1000125, 90), (2, 1000125, 0)),
        unrated=1,
    ),
    "beeradvocate.json.gz": Layout(
        {
            "beeradvocate.json.gz": "".join(
                repr(
                    {
                        "beer/name": "Sausa Weizen",
                        "beer/beerId": "47986",
                        "beer/brewerId": "10325",
                        "review/overall": overall,
                        "review/time": "1234817823",
                        "review/profileName": user,
                        "review/text": "A lot of foam, it's said.",
                    }
                )
                + "\n"
                for user, overall in (("stcules", "1.5"), ("oline73", "4"))
            )
        },
        (("stcules", "47986", 1.5), ("oline73", "47986", 4)),
        "2009-02-16T",
        titles={"47986": "Sausa Weizen"},
    ),
    "beer_reviews.csv": Layout(
        {
            "beer_reviews.csv": "brewery_id,brewery_name,review_time,review_overall,review_aroma,review_profilename,beer_name,beer_beerid\n"
            '10325,"Vecchio, Birraio",1234817823,1.5,2,stcules,Sausa Weizen,47986\n10325,x,1235915097,3,2.5,oline73,Red Moon,48213\n'
        },
        (("stcules", 47986, 1.5), ("oline73", 48213, 3)),
        "2009-02-16T",
        titles={48213: "Red Moon"},
    ),
    "ratings_export.csv": Layout(
        {
            "ratings_export.csv": "_id,movie_id,rating_val,user_id\n5fc57c5d6758f69634,feast-2014,7,deathproof\n"
            "5fc57c5d6758f69635,loving-2016,10,deathproof\n5fc57c5d6758f69636,loving-2016,4,kurstboy\n"
        },
        (("deathproof", "feast-2014", 7), ("deathproof", "loving-2016", 10), ("kurstboy", "loving-2016", 4)),
    ),
}


def commands() -> dict[str, str]:
    """The command of each data set, by the file that it reads."""
    section = DOCS.read_text().split("## Public data sets")[1].split("\n## ")[0]
    found = re.findall(r"`(hyvae data describe [^`]+)`", section)
    names = {command: next(name for name in shlex.split(command) if layout_of(name)) for command in found}
    return {layout_of(name): command for command, name in names.items()}


def layout_of(word: str) -> str:
    return next((name for name in LAYOUTS if word == name or f"'{name}'" in word), "")


def write(folder: Path, name: str, content: str, encoding: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    data = content.encode(encoding)
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zip"):
        data = zipped(**{"ml-latest/README__txt": "A note.", "ml-latest/ratings__csv": data})
    elif name.endswith(".xls"):
        data = sheet([map(float, line.split(",")) for line in content.splitlines()])
    path.write_bytes(data)


def test_the_docs_have_a_command_for_each():
    assert commands().keys() == LAYOUTS.keys()


@pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # of scales of two ratings, and of counts
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_command_of_the_docs(name, tmp_path, monkeypatch):
    layout, command = LAYOUTS[name], commands()[name]
    for part, package in (("duckdb:", "duckdb"), (".xls", "fastexcel")):
        if part in command:
            pytest.importorskip(package)
    assert all(content.count("\n") <= 20 for content in layout.files.values())
    for file, content in layout.files.items():
        write(tmp_path, file, content, "latin-1" if "latin-1" in command else "utf-8")
    monkeypatch.chdir(tmp_path)
    ratings = read_as(command)
    found = zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), ratings.values.tolist(), strict=True)
    assert sorted(found, key=str) == sorted(((u, i, float(np.float32(r))) for u, i, r in layout.ratings), key=str)
    assert (0 if ratings.unrated is None else len(ratings.unrated)) == layout.unrated
    first = None if ratings.timestamps is None else str(ratings.timestamps.min().astype("datetime64[s]"))
    assert first is None if layout.first is None else first.startswith(layout.first)
    titles = {} if ratings.titles is None else dict(zip(ratings.items.ids.tolist(), ratings.titles, strict=True))
    assert layout.titles.items() <= titles.items()
    assert titles or not layout.titles


def read_as(command: str) -> Ratings:
    """What a command reads."""
    read = []
    original = Ratings.read

    def kept(*arguments, **options):
        read.append(original(*arguments, **options))
        return read[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ratings, "read", kept)
        told = CliRunner().invoke(app, shlex.split(command)[1:])
    assert told.exit_code == 0, told.exception
    return read[0]
